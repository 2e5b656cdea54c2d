//! CodePipeline pipelines and their executions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_codepipeline::types::builders::{
    GitBranchFilterCriteriaBuilder, GitFilePathFilterCriteriaBuilder, GitTagFilterCriteriaBuilder,
};
use aws_sdk_codepipeline::types::{
    ActionCategory, ActionDeclaration, ActionExecutionDetail, ActionExecutionFilter,
    ActionExecutionStatus, ActionOwner, ActionTypeId, ArtifactStore, ArtifactStoreType,
    EncryptionKey, EncryptionKeyType, ExecutionMode, GitConfiguration, GitPullRequestEventType,
    GitPullRequestFilter, GitPushFilter, InputArtifact, OutputArtifact, PipelineDeclaration,
    PipelineExecutionSummary, PipelineTriggerDeclaration, PipelineTriggerProviderType,
    PipelineType, StageDeclaration, Tag,
};
use aws_smithy_types::error::operation::BuildError;
use jiff::Timestamp;

use crate::aws::{Clients, found, gone, incomplete, timestamp, unbuildable};
use crate::cloud::{Pipelines, Result};
use crate::domain::execution::{Commit, Execution, ExecutionState, Failure, Target};
use crate::domain::owner::Tags;
use crate::resource::delta::{Delta, Field};
use crate::resource::pipeline::{Action, Declaration, Pipeline, Stage};
use crate::resource::pipeline::{ListedPipeline, ObservedPipeline};
use crate::spec::trigger::{EVENTS, Filter, Patterns, Triggers};

/// How many executions one look asks for: enough to see a success behind a queue.
const EXECUTIONS: i32 = 10;

#[async_trait]
impl Pipelines for Clients {
    async fn observe(&self, name: &str, arn: &str) -> Result<Option<ObservedPipeline>> {
        const CALL: &str = "codepipeline:GetPipeline";
        let get = self.codepipeline.get_pipeline().name(name).send();
        let Some(answer) = found(self.call(CALL, get).await)? else {
            return Ok(None);
        };
        let pipeline = answer
            .pipeline()
            .ok_or_else(|| incomplete(CALL, "the pipeline"))?;
        let list = self
            .codepipeline
            .list_tags_for_resource()
            .resource_arn(arn)
            .send();
        let tags = found(self.call("codepipeline:ListTagsForResource", list).await)?;
        Ok(Some(ObservedPipeline {
            declaration: read(pipeline),
            version: pipeline.version().unwrap_or(1),
            updated_at: timestamp(answer.metadata().and_then(|m| m.updated())),
            tags: tags
                .iter()
                .flat_map(|a| a.tags())
                .map(|t| (t.key().to_owned(), t.value().to_owned()))
                .collect(),
        }))
    }

    async fn create(&self, desired: &Pipeline) -> Result<ObservedPipeline> {
        const CALL: &str = "codepipeline:CreatePipeline";
        let declaration = write(desired).map_err(unbuildable(CALL))?;
        let create = self
            .codepipeline
            .create_pipeline()
            .pipeline(declaration)
            .set_tags(Some(tag_set!(Tag, CALL, &desired.tags)?));
        self.call(CALL, create.send()).await?;
        Ok(desired.created())
    }

    async fn update(&self, desired: &Pipeline, delta: &Delta) -> Result<()> {
        if delta.has(Field::Declaration) {
            const CALL: &str = "codepipeline:UpdatePipeline";
            let mut declaration = write(desired).map_err(unbuildable(CALL))?;
            if desired.taken.is_some() {
                // An update writes a pipeline as a whole: what we know nothing of has to be sent
                // along.
                const READ: &str = "codepipeline:GetPipeline";
                let get = self.codepipeline.get_pipeline().name(&desired.name).send();
                let present = self
                    .call(READ, get)
                    .await?
                    .pipeline
                    .ok_or_else(|| incomplete(READ, "the pipeline"))?;
                declaration = overlay(present, declaration);
            }
            self.call(
                CALL,
                self.codepipeline
                    .update_pipeline()
                    .pipeline(declaration)
                    .send(),
            )
            .await?;
        }
        if delta.has(Field::Tags) {
            Pipelines::tag(self, &desired.arn, &delta.tags()).await?;
        }
        Ok(())
    }

    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "codepipeline:TagResource";
        let tag = self
            .codepipeline
            .tag_resource()
            .resource_arn(arn)
            .set_tags(Some(tag_set!(Tag, CALL, tags)?));
        self.call(CALL, tag.send()).await.map(|_| ())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        gone(
            self.call(
                "codepipeline:DeletePipeline",
                self.codepipeline.delete_pipeline().name(name).send(),
            )
            .await,
        )
    }

    async fn list(&self, age: Duration) -> Result<Arc<BTreeMap<String, ListedPipeline>>> {
        let ask = async {
            let pages = self
                .codepipeline
                .list_pipelines()
                .max_results(1000)
                .into_paginator()
                .send();
            let pages = self.pages("codepipeline:ListPipelines", pages).await?;
            let all = pages.iter().flat_map(|p| p.pipelines()).map(|p| {
                let listed = ListedPipeline {
                    version: p.version().unwrap_or(1),
                    updated_at: timestamp(p.updated()),
                };
                (p.name().unwrap_or_default().to_owned(), listed)
            });
            Ok(all.collect())
        };
        self.listed_pipelines.get(age, ask).await
    }

    async fn executions(&self, name: &str) -> Result<Vec<Execution>> {
        let list = self
            .codepipeline
            .list_pipeline_executions()
            .pipeline_name(name)
            .max_results(EXECUTIONS)
            .send();
        let answer = found(self.call("codepipeline:ListPipelineExecutions", list).await)?;
        Ok(answer
            .iter()
            .flat_map(|a| a.pipeline_execution_summaries())
            .map(read_execution)
            .collect())
    }

    async fn target(&self, name: &str, execution: &str) -> Result<Option<Target>> {
        let get = self
            .codepipeline
            .get_pipeline_execution()
            .pipeline_name(name)
            .pipeline_execution_id(execution)
            .send();
        let answer = found(self.call("codepipeline:GetPipelineExecution", get).await)?;
        let Some(version) = answer
            .and_then(|a| a.pipeline_execution)
            .and_then(|e| e.pipeline_version)
        else {
            return Ok(None);
        };
        let get = self
            .codepipeline
            .get_pipeline()
            .name(name)
            .version(version)
            .send();
        let answer = found(self.call("codepipeline:GetPipeline", get).await)?;
        Ok(answer
            .and_then(|a| a.pipeline)
            .and_then(|p| read(&p).target()))
    }

    async fn failure(&self, name: &str, execution: &str) -> Result<Option<Failure>> {
        let details = self.actions(name, execution).await?;
        let failed = details
            .iter()
            .find(|d| d.status() == Some(&ActionExecutionStatus::Failed));
        Ok(failed.map(|detail| {
            let result = detail.output().and_then(|o| o.execution_result());
            let error = result.and_then(|r| r.error_details());
            let summary = result.and_then(|r| r.external_execution_summary());
            Failure {
                stage: detail.stage_name().unwrap_or_default().to_owned(),
                code: error.and_then(|e| e.code()).map(str::to_owned),
                message: error
                    .and_then(|e| e.message())
                    .or(summary)
                    .unwrap_or("no message")
                    .to_owned(),
            }
        }))
    }

    async fn history(&self, name: &str, since: Timestamp) -> Result<Vec<Execution>> {
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let list = self
                .codepipeline
                .list_pipeline_executions()
                .pipeline_name(name)
                .max_results(100);
            let answer = self
                .call(
                    "codepipeline:ListPipelineExecutions",
                    list.set_next_token(next).send(),
                )
                .await;
            let Some(page) = found(answer)? else {
                return Ok(all);
            };
            all.extend(
                page.pipeline_execution_summaries()
                    .iter()
                    .map(read_execution),
            );
            next = page.next_token;
            if next.is_none()
                || all
                    .last()
                    .is_some_and(|oldest: &Execution| oldest.updated_at < since)
            {
                all.retain(|e| e.updated_at >= since);
                return Ok(all);
            }
        }
    }

    async fn artifact(&self, name: &str, execution: &str) -> Result<Option<(String, String)>> {
        let details = self.actions(name, execution).await?;
        let artifacts = details
            .iter()
            .flat_map(|d| d.output().map(|o| o.output_artifacts()).unwrap_or_default());
        let mut places = artifacts.filter_map(|artifact| artifact.s3_location());
        Ok(places.find_map(|place| Some((place.bucket()?.to_owned(), place.key()?.to_owned()))))
    }

    async fn start(&self, name: &str, token: &str) -> Result<()> {
        let start = self
            .codepipeline
            .start_pipeline_execution()
            .name(name)
            .client_request_token(token)
            .send();
        self.call("codepipeline:StartPipelineExecution", start)
            .await
            .map(|_| ())
    }
}

impl Clients {
    async fn actions(&self, name: &str, execution: &str) -> Result<Vec<ActionExecutionDetail>> {
        let filter = ActionExecutionFilter::builder()
            .pipeline_execution_id(execution)
            .build();
        let list = self
            .codepipeline
            .list_action_executions()
            .pipeline_name(name)
            .filter(filter)
            .send();
        let answer = found(self.call("codepipeline:ListActionExecutions", list).await)?;
        Ok(answer
            .and_then(|a| a.action_execution_details)
            .unwrap_or_default())
    }
}

fn write(pipeline: &Pipeline) -> std::result::Result<PipelineDeclaration, BuildError> {
    let declaration = &pipeline.declaration;
    let key = declaration.artifacts_key.as_ref().map(|key| {
        EncryptionKey::builder()
            .id(key)
            .r#type(EncryptionKeyType::Kms)
            .build()
    });
    let store = ArtifactStore::builder()
        .r#type(ArtifactStoreType::S3)
        .location(&declaration.artifacts)
        .set_encryption_key(key.transpose()?)
        .build()?;
    let stages: std::result::Result<Vec<_>, BuildError> =
        declaration.stages.iter().map(write_stage).collect();
    PipelineDeclaration::builder()
        .name(&pipeline.name)
        .role_arn(&declaration.role_arn)
        .artifact_store(store)
        .pipeline_type(PipelineType::from(declaration.pipeline_type.as_str()))
        .execution_mode(ExecutionMode::from(declaration.execution_mode.as_str()))
        .set_stages(Some(stages?))
        .set_triggers(
            declaration
                .triggers
                .as_ref()
                .map(write_triggers)
                .transpose()?
                .map(|trigger| vec![trigger]),
        )
        .build()
}

/// What we write, on a pipeline as it is.
fn overlay(mut present: PipelineDeclaration, ours: PipelineDeclaration) -> PipelineDeclaration {
    let actions = |stages: Vec<StageDeclaration>| {
        stages
            .into_iter()
            .flat_map(|s| s.actions)
            .collect::<Vec<_>>()
    };
    for (action, ours) in present
        .stages
        .iter_mut()
        .flat_map(|s| &mut s.actions)
        .zip(actions(ours.stages))
    {
        action.configuration = ours.configuration;
    }
    if let (Some(store), Some(ours)) = (&mut present.artifact_store, ours.artifact_store) {
        store.location = ours.location;
        store.encryption_key = ours.encryption_key;
    }
    present.version = None;
    present.pipeline_type = ours.pipeline_type;
    present.execution_mode = ours.execution_mode;
    present.triggers = ours.triggers;
    present
}

fn write_triggers(
    triggers: &Triggers,
) -> std::result::Result<PipelineTriggerDeclaration, BuildError> {
    let some =
        |set: &BTreeSet<String>| (!set.is_empty()).then(|| set.iter().cloned().collect::<Vec<_>>());
    // One type for each of the three, and all of one form.
    macro_rules! criteria {
        ($builder:ty, $patterns:expr) => {
            (!$patterns.is_empty()).then(|| {
                let Patterns { includes, excludes } = $patterns;
                <$builder>::default()
                    .set_includes(some(includes))
                    .set_excludes(some(excludes))
                    .build()
            })
        };
    }
    let push = triggers.push.iter().map(|filter| {
        GitPushFilter::builder()
            .set_tags(criteria!(GitTagFilterCriteriaBuilder, &filter.tags))
            .set_branches(criteria!(GitBranchFilterCriteriaBuilder, &filter.branches))
            .set_file_paths(criteria!(
                GitFilePathFilterCriteriaBuilder,
                &filter.file_paths
            ))
            .build()
    });
    let pull_request = triggers.pull_request.iter().map(|filter| {
        GitPullRequestFilter::builder()
            .set_events(Some(
                filter
                    .events
                    .iter()
                    .map(|e| GitPullRequestEventType::from(e.as_str()))
                    .collect(),
            ))
            .set_branches(criteria!(GitBranchFilterCriteriaBuilder, &filter.branches))
            .set_file_paths(criteria!(
                GitFilePathFilterCriteriaBuilder,
                &filter.file_paths
            ))
            .build()
    });
    let (push, pull_request): (Vec<_>, Vec<_>) = (push.collect(), pull_request.collect());
    let git = GitConfiguration::builder()
        .source_action_name(&triggers.source)
        .set_push((!push.is_empty()).then_some(push))
        .set_pull_request((!pull_request.is_empty()).then_some(pull_request))
        .build()?;
    PipelineTriggerDeclaration::builder()
        .provider_type(PipelineTriggerProviderType::CodeStarSourceConnection)
        .git_configuration(git)
        .build()
}

fn write_stage(stage: &Stage) -> std::result::Result<StageDeclaration, BuildError> {
    let actions: std::result::Result<Vec<_>, BuildError> =
        stage.actions.iter().map(write_action).collect();
    StageDeclaration::builder()
        .name(&stage.name)
        .set_actions(Some(actions?))
        .build()
}

fn write_action(action: &Action) -> std::result::Result<ActionDeclaration, BuildError> {
    let id = ActionTypeId::builder()
        .category(ActionCategory::from(action.category.as_str()))
        .owner(ActionOwner::from(action.owner.as_str()))
        .provider(&action.provider)
        .version(&action.version)
        .build()?;
    let mut builder = ActionDeclaration::builder()
        .name(&action.name)
        .action_type_id(id)
        .run_order(1);
    for (key, value) in &action.configuration {
        builder = builder.configuration(key, value);
    }
    for name in &action.inputs {
        builder = builder.input_artifacts(InputArtifact::builder().name(name).build()?);
    }
    for name in &action.outputs {
        builder = builder.output_artifacts(OutputArtifact::builder().name(name).build()?);
    }
    builder.build()
}

fn read(pipeline: &PipelineDeclaration) -> Declaration {
    Declaration {
        role_arn: pipeline.role_arn().to_owned(),
        artifacts: pipeline
            .artifact_store()
            .map_or("", |s| s.location())
            .to_owned(),
        artifacts_key: pipeline
            .artifact_store()
            .and_then(|s| s.encryption_key())
            .map(|k| k.id().to_owned()),
        // CodePipeline leaves out what it takes for granted.
        pipeline_type: pipeline
            .pipeline_type()
            .map_or("V1", |t| t.as_str())
            .to_owned(),
        execution_mode: pipeline
            .execution_mode()
            .map_or("SUPERSEDED", |m| m.as_str())
            .to_owned(),
        triggers: read_triggers(pipeline),
        stages: pipeline
            .stages()
            .iter()
            .map(|s| Stage {
                name: s.name().to_owned(),
                actions: s.actions().iter().map(read_action).collect(),
            })
            .collect(),
    }
}

fn read_triggers(pipeline: &PipelineDeclaration) -> Option<Triggers> {
    let git = pipeline
        .triggers()
        .iter()
        .find_map(|t| t.git_configuration())?;
    macro_rules! patterns {
        ($criteria:expr) => {{
            let set = |texts: &[String]| texts.iter().cloned().collect();
            $criteria.map_or_else(Patterns::default, |c| Patterns {
                includes: set(c.includes()),
                excludes: set(c.excludes()),
            })
        }};
    }
    let push = git.push().iter().map(|filter| Filter {
        events: BTreeSet::new(),
        branches: patterns!(filter.branches()),
        tags: patterns!(filter.tags()),
        file_paths: patterns!(filter.file_paths()),
    });
    let pull_request = git.pull_request().iter().map(|filter| {
        let events: BTreeSet<String> = filter
            .events()
            .iter()
            .map(|e| e.as_str().to_owned())
            .collect();
        Filter {
            events: if events.is_empty() {
                EVENTS.map(str::to_owned).into()
            } else {
                events
            },
            branches: patterns!(filter.branches()),
            tags: Patterns::default(),
            file_paths: patterns!(filter.file_paths()),
        }
    });
    let source = git.source_action_name().to_owned();
    Some(Triggers {
        source,
        push: push.collect(),
        pull_request: pull_request.collect(),
    })
}

fn read_action(action: &ActionDeclaration) -> Action {
    let id = action.action_type_id();
    Action {
        name: action.name().to_owned(),
        category: id.map_or("", |i| i.category().as_str()).to_owned(),
        owner: id.map_or("", |i| i.owner().as_str()).to_owned(),
        provider: id.map_or("", |i| i.provider()).to_owned(),
        version: id.map_or("", |i| i.version()).to_owned(),
        configuration: action
            .configuration()
            .into_iter()
            .flatten()
            .map(|(k, v)| (k.clone(), v.clone()))
            .collect(),
        inputs: action
            .input_artifacts()
            .iter()
            .map(|a| a.name().to_owned())
            .collect(),
        outputs: action
            .output_artifacts()
            .iter()
            .map(|a| a.name().to_owned())
            .collect(),
    }
}

fn read_execution(summary: &PipelineExecutionSummary) -> Execution {
    let revision = summary
        .source_revisions()
        .iter()
        .find_map(|r| Some((r.revision_id()?, r.revision_summary())));
    Execution {
        id: summary
            .pipeline_execution_id()
            .unwrap_or_default()
            .to_owned(),
        state: ExecutionState::parse(summary.status().map_or("", |s| s.as_str())),
        trigger: summary
            .trigger()
            .and_then(|t| t.trigger_type())
            .map(|t| t.as_str().to_owned()),
        commit: revision.map(|(id, summary)| Commit {
            id: id.to_owned(),
            message: summary.and_then(commit_message),
        }),
        started_at: timestamp(summary.start_time()),
        updated_at: timestamp(summary.last_update_time()),
    }
}

/// Of a connection, the summary is JSON: `{"ProviderType":"GitHub","CommitMessage":"…"}`.
fn commit_message(summary: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(summary) {
        Ok(serde_json::Value::Object(object)) => {
            object.get("CommitMessage")?.as_str().map(str::to_owned)
        }
        _ => Some(summary.to_owned()),
    }
}
