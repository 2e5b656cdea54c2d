//! Converts the structure of a pipeline to and from the SDK's types.

use std::collections::BTreeSet;

use aws_sdk_codepipeline::types::builders::{
    GitBranchFilterCriteriaBuilder, GitFilePathFilterCriteriaBuilder, GitTagFilterCriteriaBuilder,
};
use aws_sdk_codepipeline::types::{
    ActionCategory, ActionDeclaration, ActionOwner, ActionTypeId, ArtifactStore, ArtifactStoreType,
    EncryptionKey, EncryptionKeyType, ExecutionMode, GitConfiguration, GitPullRequestEventType,
    GitPullRequestFilter, GitPushFilter, InputArtifact, OutputArtifact, PipelineDeclaration,
    PipelineTriggerDeclaration, PipelineTriggerProviderType, PipelineType, StageDeclaration,
};
use aws_smithy_types::error::operation::BuildError;

use crate::domain::word::Found;
use crate::resource::pipeline::{Action, Declaration, Pipeline, Stage};
use crate::spec::pipeline as spec;
use crate::spec::trigger::{EVENTS, Filter, Patterns, Triggers};

/// Converts the structure to the SDK's type.
pub(super) fn write(pipeline: &Pipeline) -> std::result::Result<PipelineDeclaration, BuildError> {
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

/// Overlays the fields that we manage on the existing structure of a pipeline.
pub(super) fn overlay(
    mut present: PipelineDeclaration,
    ours: PipelineDeclaration,
) -> PipelineDeclaration {
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
    // The SDK has three types of the same form.
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

/// Converts the structure from the SDK's type, without what CodePipeline adds by itself.
pub(super) fn read(pipeline: &PipelineDeclaration) -> Declaration {
    read_all(pipeline).without_default_triggers()
}

fn read_all(pipeline: &PipelineDeclaration) -> Declaration {
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
        // CodePipeline leaves out default values.
        pipeline_type: pipeline
            .pipeline_type()
            .map_or(Found::Known(spec::PipelineType::V1), |t| {
                Found::parse(t.as_str())
            }),
        execution_mode: pipeline
            .execution_mode()
            .map_or(Found::Known(spec::ExecutionMode::Superseded), |m| {
                Found::parse(m.as_str())
            }),
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
