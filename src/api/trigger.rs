//! `spec.pipeline.triggers`: filters of pushes and pull requests, in CodePipeline's words.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-filter.html>

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// What starts executions in the place of every push to the branch: a push or pull request that any
/// of these filters lets through. What started an execution is what it copies, which may be another
/// branch, a tag or a pull request.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.push) || has(self.pullRequest)")
    .message("triggers: write push, pullRequest or both; to have no push start anything, write \
         detectChanges: false in their place"))]
pub struct TriggersSpec {
    /// Filters of pushes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "atomic"))]
    pub push: Option<Vec<PushFilterSpec>>,

    /// Filters of pull requests.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "atomic"))]
    pub pull_request: Option<Vec<PullRequestFilterSpec>>,
}

/// A filter of pushes: by tags, or by branches, paths or both.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.tags) != (has(self.branches) || has(self.filePaths))")
        .message("push: write either tags, or branches, filePaths or both")
)]
pub struct PushFilterSpec {
    /// Branches that are pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches: Option<PatternsSpec>,

    /// Tags that are pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<PatternsSpec>,

    /// Paths of files that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_paths: Option<PatternsSpec>,
}

/// A filter of pull requests.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.branches) || has(self.filePaths)")
    .message("pullRequest: write branches, filePaths or both"))]
pub struct PullRequestFilterSpec {
    /// What happened to it. All of them if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 3),
        extend("items" = {"type": "string", "maxLength": 7, "enum": ["OPEN", "UPDATED", "CLOSED"]}),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub events: Option<Vec<String>>,

    /// Branches that it is to go into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches: Option<PatternsSpec>,

    /// Paths of files that changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_paths: Option<PatternsSpec>,
}

/// Glob patterns (`*`, `**`, `?`, `{a,b}`); where one of each fits, it is excluded.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.includes) || has(self.excludes)")
    .message("write includes, excludes or both"))]
pub struct PatternsSpec {
    /// What is let through. Everything if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "patterns")]
    pub includes: Option<Vec<String>>,

    /// What is not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "patterns")]
    pub excludes: Option<Vec<String>>,
}

fn patterns(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "Glob patterns, eight at most.",
        "type": "array", "minItems": 1, "maxItems": 8, "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 255},
    })
}
