//! The pipeline: two stages that read a repository and copy it to a bucket.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::condition::Reason;
use crate::domain::execution::Target;
use crate::domain::kind::Resource;
use crate::domain::names::SOURCE;
use crate::domain::owner::Tags;
use crate::domain::pattern::Allowed;
use crate::domain::refusal::Refusal;
use crate::domain::word::Found;
use crate::resource::connection::{ConnectionState, ObservedConnection};
use crate::resource::delta::{Delta, Field, retagged};
use crate::resource::managed::{Change, Facts, Managed, Planned, Wanted};
use crate::resource::scope::{Scope, allow};
use crate::spec::fanout::Fanout;
use crate::spec::pipeline::{ExecutionMode, PipelineType};
use crate::spec::trigger::Triggers;

/// Provider of the source action.
pub const SOURCE_PROVIDER: &str = "CodeStarSourceConnection";
/// Provider of the deploy action.
pub const DEPLOY_PROVIDER: &str = "S3";
const ARTIFACT: &str = "SourceArtifact";
const TRIGGERS: &str = "triggers";

/// An own pipeline.
#[derive(Clone, Debug, PartialEq)]
pub struct Pipeline {
    /// Its name.
    pub name: String,
    /// Its ARN, as AWS will make it.
    pub arn: String,
    /// Its structure.
    pub declaration: Declaration,
    /// The roles that are allowed, if it exists and is taken over.
    pub taken: Option<Allowed>,
    /// Our tags.
    pub tags: Tags,
}

/// A pipeline's structure, with AWS's own defaults written out or left out alike.
/// <https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineDeclaration.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Declaration {
    /// ARN of its role.
    pub role_arn: String,
    /// Its artifacts bucket.
    pub artifacts: String,
    /// ARN of the KMS key of its artifacts.
    pub artifacts_key: Option<String>,
    /// `V1` or `V2`.
    pub pipeline_type: Found<PipelineType>,
    /// `QUEUED`, `SUPERSEDED` or `PARALLEL`.
    pub execution_mode: Found<ExecutionMode>,
    /// The triggers that start it in the place of every push.
    pub triggers: Option<Triggers>,
    /// Its stages, in order.
    pub stages: Vec<Stage>,
}

/// A stage of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stage {
    /// Its name.
    pub name: String,
    /// Its actions.
    pub actions: Vec<Action>,
}

/// An action of a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Action {
    /// Its name.
    pub name: String,
    /// `Source` or `Deploy`.
    pub category: String,
    /// `AWS`.
    pub owner: String,
    /// `CodeStarSourceConnection` or `S3`.
    pub provider: String,
    /// `1`.
    pub version: String,
    /// The provider's settings.
    pub configuration: BTreeMap<String, String>,
    /// Artifacts that it reads.
    pub inputs: Vec<String>,
    /// Artifacts that it writes.
    pub outputs: Vec<String>,
}

/// A pipeline as it is found.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservedPipeline {
    /// Its structure.
    pub declaration: Declaration,
    /// Counts its updates from 1.
    pub version: i32,
    /// The last change of its structure, by AWS's clock.
    pub updated_at: Timestamp,
    /// All its tags.
    pub tags: Tags,
}

/// A pipeline as a list has it: another version or time is another structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListedPipeline {
    /// Counts its updates from 1.
    pub version: i32,
    /// The last change of its structure, by AWS's clock.
    pub updated_at: Timestamp,
}

/// The parts of a pipeline: ARNs of role and connection, names of buckets.
pub(super) struct Parts<'a> {
    pub role_arn: &'a str,
    pub connection_arn: &'a str,
    pub artifacts: &'a str,
    pub destination: &'a str,
}

impl Declaration {
    /// The structure that the fan-out asks for.
    pub(super) fn new(fanout: &Fanout, parts: &Parts<'_>) -> Self {
        let action = |name: &str, provider: &str, configuration: &[(&str, &str)]| Action {
            name: name.to_owned(),
            category: name.to_owned(),
            owner: "AWS".to_owned(),
            provider: provider.to_owned(),
            version: "1".to_owned(),
            configuration: configuration
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect(),
            inputs: Vec::new(),
            outputs: Vec::new(),
        };
        let detect = if fanout.pipeline.detect_changes {
            "true"
        } else {
            "false"
        };
        let configuration = [
            ("ConnectionArn", parts.connection_arn),
            ("FullRepositoryId", &fanout.repository),
            ("BranchName", &fanout.branch),
            ("DetectChanges", detect),
        ];
        let source = Action {
            outputs: vec![ARTIFACT.to_owned()],
            ..action(SOURCE, SOURCE_PROVIDER, &configuration)
        };
        let configuration = [
            ("BucketName", parts.destination),
            ("Extract", "true"),
            ("ObjectKey", &fanout.prefix),
        ];
        let deploy = Action {
            inputs: vec![ARTIFACT.to_owned()],
            ..action("Deploy", DEPLOY_PROVIDER, &configuration)
        };
        let stage = |action: Action| Stage {
            name: action.name.clone(),
            actions: vec![action],
        };
        Self {
            role_arn: parts.role_arn.to_owned(),
            artifacts: parts.artifacts.to_owned(),
            artifacts_key: fanout.kms_key.clone(),
            pipeline_type: Found::Known(fanout.pipeline.kind),
            execution_mode: Found::Known(fanout.pipeline.execution_mode),
            triggers: fanout.pipeline.triggers.clone(),
            stages: [source, deploy].map(stage).into(),
        }
    }

    /// Source and deploy action, if it has our shape, whatever they are called.
    pub fn actions(&self) -> Option<(&Action, &Action)> {
        let [source, deploy] = &*self.stages else {
            return None;
        };
        match (&*source.actions, &*deploy.actions) {
            ([source], [deploy])
                if source.provider == SOURCE_PROVIDER && deploy.provider == DEPLOY_PROVIDER =>
            {
                Some((source, deploy))
            }
            _ => None,
        }
    }

    /// This structure without the triggers that CodePipeline adds to a V2 pipeline that detects
    /// changes and has none. They are AWS's: sent back, they would stay when the branch changes.
    pub fn without_default_triggers(mut self) -> Self {
        let is_default = self.triggers.as_ref().is_some_and(|triggers| {
            let actions = self.stages.iter().flat_map(|stage| &stage.actions);
            let mut sources = actions.filter(|action| action.provider == SOURCE_PROVIDER);
            sources.any(|source| {
                let setting = |key: &str| source.configuration.get(key).map(String::as_str);
                setting("DetectChanges") != Some("false")
                    && triggers.are_default(&source.name, setting("BranchName").unwrap_or_default())
            })
        });
        if is_default {
            self.triggers = None;
        }
        self
    }

    /// This structure within one that is taken over: all that is not asked for stays as it is.
    fn within(&self, found: &Self) -> Self {
        let mut kept = found.clone();
        let (Some(_), Some((source, deploy))) = (found.actions(), self.actions()) else {
            return self.clone();
        };
        for (stage, asked) in kept.stages.iter_mut().zip([source, deploy]) {
            let configuration = &mut stage.actions[0].configuration;
            for (key, value) in &asked.configuration {
                // What AWS takes for granted need not be written.
                if !(key == "DetectChanges" && value == "true" && !configuration.contains_key(key))
                {
                    configuration.insert(key.clone(), value.clone());
                }
            }
        }
        kept.artifacts.clone_from(&self.artifacts);
        kept.artifacts_key = self.artifacts_key.clone().or(kept.artifacts_key);
        kept.pipeline_type.clone_from(&self.pipeline_type);
        kept.execution_mode.clone_from(&self.execution_mode);
        kept.triggers = self.triggers.clone().or(kept.triggers);
        if let Some(triggers) = &mut kept.triggers {
            triggers.source.clone_from(&kept.stages[0].actions[0].name);
        }
        kept
    }

    /// Source and destination, if it has our shape.
    pub fn target(&self) -> Option<Target> {
        let config = |provider: &str, key: &str| {
            let mut actions = self.stages.iter().flat_map(|s| &s.actions);
            let action = actions.find(|a| a.provider == provider)?;
            action.configuration.get(key).cloned()
        };
        Some(Target {
            repository: config(SOURCE_PROVIDER, "FullRepositoryId")?,
            branch: config(SOURCE_PROVIDER, "BranchName")?,
            bucket: config(DEPLOY_PROVIDER, "BucketName")?,
            prefix: config(DEPLOY_PROVIDER, "ObjectKey").unwrap_or_default(),
        })
    }

    /// Its values by path.
    fn flatten(&self) -> Vec<(String, String)> {
        let names: Vec<&str> = self.stages.iter().map(|s| &*s.name).collect();
        let key = self.artifacts_key.clone().unwrap_or_default();
        let settings = [
            ("roleArn", self.role_arn.clone()),
            ("artifactStore.location", self.artifacts.clone()),
            ("artifactStore.encryptionKey", key),
            ("pipelineType", self.pipeline_type.to_string()),
            ("executionMode", self.execution_mode.to_string()),
            ("stages", names.join(",")),
        ];
        let mut out: Vec<(String, String)> = settings
            .map(|(path, value)| (path.to_owned(), value))
            .into();
        let triggers = self.triggers.as_ref();
        let triggers = triggers.map(|t| serde_json::json!(t).to_string());
        out.extend(triggers.map(|triggers| (TRIGGERS.to_owned(), triggers)));
        for stage in &self.stages {
            for action in &stage.actions {
                let path = format!("{}.{}", stage.name, action.name);
                let Action {
                    category,
                    owner,
                    provider,
                    version,
                    ..
                } = action;
                let kind = format!("{category}/{owner}/{provider}/{version}");
                out.push((format!("{path}.actionTypeId"), kind));
                out.push((format!("{path}.inputArtifacts"), action.inputs.join(",")));
                out.push((format!("{path}.outputArtifacts"), action.outputs.join(",")));
                let settings = action.configuration.iter();
                out.extend(settings.map(|(k, v)| (format!("{path}.{k}"), v.clone())));
            }
        }
        out
    }
}

impl Pipeline {
    /// The found state once it is made. AWS's own time is read with the next look; until then every
    /// execution is of this version.
    pub fn created(&self) -> ObservedPipeline {
        ObservedPipeline {
            declaration: self.declaration.clone(),
            version: 1,
            updated_at: Timestamp::UNIX_EPOCH,
            tags: self.tags.clone(),
        }
    }
}

impl Managed for Pipeline {
    type Found = ObservedPipeline;

    fn label(&self) -> &str {
        &self.name
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }

    fn found_tags(found: &ObservedPipeline) -> &Tags {
        &found.tags
    }

    fn called(&self, _: &ObservedPipeline) -> String {
        self.arn.clone()
    }

    fn diff(&self, found: &ObservedPipeline) -> Delta {
        let mut delta = Delta::default();
        let (is, mut was) = (self.declaration.flatten(), found.declaration.flatten());
        if self.declaration.triggers.is_none() {
            // AWS may add some of its own to a V2 pipeline that has none.
            was.retain(|(path, _)| path != TRIGGERS);
        }
        for (path, value) in &is {
            let found = was.iter().find(|(p, _)| p == path).map_or("", |(_, v)| v);
            if found != value {
                delta.note(Field::Declaration, path, found, value);
            }
        }
        for (path, value) in was.iter().filter(|(p, _)| !is.iter().any(|(i, _)| i == p)) {
            delta.note(Field::Declaration, path, value, "");
        }
        delta.with_tags(&self.tags, &found.tags)
    }

    /// A new structure has a version and a time of AWS's own, which have to be read.
    fn updated(&self, found: &ObservedPipeline) -> ObservedPipeline {
        ObservedPipeline {
            declaration: self.declaration.clone(),
            tags: retagged(&found.tags, &self.tags),
            ..found.clone()
        }
    }

    fn keeping(self, found: &ObservedPipeline) -> Self {
        if self.taken.is_none() {
            return self;
        }
        Self {
            declaration: self.declaration.within(&found.declaration),
            ..self
        }
    }
}

/// The next change of the pipeline.
pub(super) fn plan(
    wanted: &Wanted<Pipeline>,
    found: Option<&ObservedPipeline>,
    connection: Option<&ObservedConnection>,
    facts: &Facts<'_>,
) -> Planned<Change<Pipeline>> {
    let Some(pipeline) = wanted.own() else {
        return Ok(None);
    };
    let writable = found.is_none_or(|found| facts.may_write(Resource::Pipeline, &found.tags));
    if writable {
        if let Some(allowed) = &pipeline.taken {
            pipeline.may_be_taken(allowed, found)?;
        }
        // A pipeline made on a connection that nobody authorized never hears of a push, also later.
        if connection.is_none_or(|c| c.state != ConnectionState::Available) {
            return Ok(None);
        }
    }
    Ok(Change::between(Resource::Pipeline, pipeline, found, facts))
}

impl Pipeline {
    /// Refuses where there is no pipeline to take over, or it cannot be.
    fn may_be_taken(
        &self,
        allowed: &Allowed,
        found: Option<&ObservedPipeline>,
    ) -> Result<(), Refusal> {
        let name = &self.name;
        let Some(found) = found else {
            return Err(Refusal::new(
                Reason::NotFound,
                format!(
                    "pipeline.name: there is no pipeline {name} in this account and region to be \
                         taken over; create it, or leave pipeline.name out"
                ),
            ));
        };
        if found.declaration.actions().is_none() {
            return Err(Refusal::new(
                Reason::InvalidSpec,
                format!(
                    "pipeline.name: {name} is not of two stages with one action each, a \
                         CodeStarSourceConnection and an S3 deployment; name one that is"
                ),
            ));
        }
        allowed.check("pipeline.name, its role", &found.declaration.role_arn)
    }
}

/// IAM statements of the operator for own pipelines, and for those that are taken over.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let own = [
        "codepipeline:CreatePipeline",
        "codepipeline:DeletePipeline",
        "codepipeline:GetPipeline",
        "codepipeline:GetPipelineExecution",
        "codepipeline:ListActionExecutions",
        "codepipeline:ListPipelineExecutions",
        "codepipeline:ListTagsForResource",
        "codepipeline:StartPipelineExecution",
        "codepipeline:StopPipelineExecution",
        "codepipeline:TagResource",
        "codepipeline:UpdatePipeline",
    ];
    let mut statements = vec![allow("Pipelines", own, scope.named("codepipeline"))];
    let existing = scope.existing_named("codepipeline");
    if !existing.is_empty() {
        // They are deleted only for objects that say `deletion.default: Delete`.
        let taken = own.into_iter().filter(|a| !a.ends_with(":CreatePipeline"));
        let taken: Vec<&str> = taken.collect();
        statements.push(allow("ExistingPipelines", taken, existing));
    }
    statements
}
