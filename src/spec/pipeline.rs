//! `spec.pipeline`: how the pipeline runs, or which existing pipeline is adopted.

use crate::api::repofanout::PipelineSpec;
use crate::domain::pattern::Allowed;
use crate::domain::refusal::{Refusal, invalid, known_or};
use crate::domain::word::{Word, words};
use crate::spec::policy::Policy;
use crate::spec::trigger::Triggers;

words! {
    /// CodePipeline's pipeline types.
    /// <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipeline-types.html>
    PipelineType {
        /// Billed per pipeline.
        V1 = "V1",
        /// Billed per minute; supports triggers and execution modes.
        V2 = "V2",
    }
}

words! {
    /// The execution modes that objects may ask for: what happens to an execution while another one
    /// runs.
    /// <https://docs.aws.amazon.com/codepipeline/latest/userguide/execution-modes.html>
    ExecutionMode {
        /// It waits.
        Queued = "QUEUED",
        /// It replaces an older execution that waits.
        Superseded = "SUPERSEDED",
    }
}

/// The execution mode that no object may ask for, since an older execution could overwrite a newer
/// one.
pub const PARALLEL: &str = "PARALLEL";

/// The options of the pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The existing pipeline that is adopted, if there is one.
    pub adopted: Option<AdoptedPipeline>,
    /// The pipeline's type.
    pub kind: PipelineType,
    /// The execution mode.
    pub execution_mode: ExecutionMode,
    /// Whether a push starts an execution.
    pub detect_changes: bool,
    /// Filters for the events that start executions, instead of every push.
    pub triggers: Option<Triggers>,
}

/// An existing pipeline that is adopted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedPipeline {
    /// Its name.
    pub name: String,
    /// The allowed ARNs of the pipeline and its role.
    pub allowed: Allowed,
}

impl Pipeline {
    /// Parses the options.
    pub fn parse(spec: PipelineSpec, policy: &Policy<'_>) -> Result<Self, Refusal> {
        let kind = known_or("pipeline.type", spec.type_.as_deref(), PipelineType::V2)?;
        let execution_mode = execution_mode(kind, spec.execution_mode.as_deref())?;
        // Triggers and the detection of changes together would start two executions a push.
        let detect_changes = spec.detect_changes.unwrap_or(spec.triggers.is_none());
        if spec.triggers.is_some() && (kind == PipelineType::V1 || detect_changes) {
            return Err(invalid(
                "pipeline: triggers are for V2 pipelines and replace detectChanges; write type V2 \
                 and leave detectChanges out, or leave triggers out",
            ));
        }
        Ok(Self {
            adopted: spec.name.map(|name| AdoptedPipeline {
                name,
                allowed: policy.allowed_existing(),
            }),
            kind,
            execution_mode,
            detect_changes,
            triggers: spec.triggers.map(Triggers::parse).transpose()?,
        })
    }
}

/// The execution mode. A V1 pipeline only supersedes, and only V2 can queue.
fn execution_mode(kind: PipelineType, asked: Option<&str>) -> Result<ExecutionMode, Refusal> {
    let default = match kind {
        PipelineType::V1 => ExecutionMode::Superseded,
        PipelineType::V2 => ExecutionMode::Queued,
    };
    let supersedes = asked.is_none_or(|word| word == ExecutionMode::Superseded.as_str());
    if kind == PipelineType::V1 && !supersedes {
        return Err(invalid(
            "pipeline: a V1 pipeline knows executionMode SUPERSEDED only; write type V2 or leave \
             executionMode out",
        ));
    }
    known_or("pipeline.executionMode", asked, default)
}
