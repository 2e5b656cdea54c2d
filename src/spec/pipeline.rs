//! `spec.pipeline`: how the pipeline runs, or which one is taken over.

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
        /// Priced by the pipeline.
        V1 = "V1",
        /// Priced by the minute; has triggers and execution modes.
        V2 = "V2",
    }
}

words! {
    /// What happens to an execution while another one runs, as far as objects may ask for it.
    /// <https://docs.aws.amazon.com/codepipeline/latest/userguide/execution-modes.html>
    ExecutionMode {
        /// It waits.
        Queued = "QUEUED",
        /// It replaces an older one that waits.
        Superseded = "SUPERSEDED",
    }
}

/// The execution mode that no object may ask for: an older execution may overwrite a newer one.
pub const PARALLEL: &str = "PARALLEL";

/// How the pipeline runs.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// The pipeline that exists and is taken over, if there is one.
    pub adopted: Option<AdoptedPipeline>,
    /// Its type.
    pub kind: PipelineType,
    /// How its executions follow each other.
    pub execution_mode: ExecutionMode,
    /// Whether a push starts an execution.
    pub detect_changes: bool,
    /// The filters that start executions in the place of every push.
    pub triggers: Option<Triggers>,
}

/// A pipeline that exists and is taken over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdoptedPipeline {
    /// Its name.
    pub name: String,
    /// The ARNs that it and its role may have.
    pub allowed: Allowed,
}

impl Pipeline {
    /// What the object asks for.
    pub fn parse(spec: PipelineSpec, policy: &Policy<'_>) -> Result<Self, Refusal> {
        let kind = known_or("pipeline.type", spec.type_.as_deref(), PipelineType::V2)?;
        let execution_mode = execution_mode(kind, spec.execution_mode.as_deref())?;
        // A trigger and the detection of changes would each start an execution.
        let detect_changes = spec.detect_changes.unwrap_or(spec.triggers.is_none());
        if spec.triggers.is_some() && (kind == PipelineType::V1 || detect_changes) {
            return Err(invalid(
                "pipeline: triggers are for V2 pipelines, and detectChanges has no meaning beside \
                 them; write type V2 and leave detectChanges out, or leave triggers out",
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
            triggers: spec.triggers.map(Triggers::from),
        })
    }
}

/// A V1 pipeline supersedes; queueing is V2's.
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
