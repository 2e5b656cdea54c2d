//! Converts executions of a pipeline and their failures from the SDK's types.

use aws_sdk_codepipeline::types::{ActionExecutionDetail, PipelineExecutionSummary};

use crate::aws::timestamp;
use crate::domain::execution::{Commit, Execution, ExecutionState, Failure};

/// Converts an execution from the list.
pub(super) fn read(summary: &PipelineExecutionSummary) -> Execution {
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

/// Parses the summary of a commit. For a connection it is JSON:
/// `{"ProviderType":"GitHub","CommitMessage":"…"}`.
fn commit_message(summary: &str) -> Option<String> {
    match serde_json::from_str::<serde_json::Value>(summary) {
        Ok(serde_json::Value::Object(object)) => {
            object.get("CommitMessage")?.as_str().map(str::to_owned)
        }
        _ => Some(summary.to_owned()),
    }
}

/// The failure of an execution without a failed action: CodePipeline fails those without a word.
pub(super) fn failure_without_action() -> Failure {
    Failure {
        stage: String::new(),
        code: None,
        message:
            "CodePipeline ended it before its first action and gives no cause; it does so where \
                  more than 50 executions wait"
                .to_owned(),
    }
}

/// Returns why the failed action failed.
pub(super) fn read_failure(detail: &ActionExecutionDetail) -> Failure {
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
}
