//! `spec.pipeline.triggers`: filters of pushes and pull requests, named as CodePipeline names them.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-filter.html>

use kube::KubeSchema;
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// Filters of the pushes and pull requests that start an execution, instead of every push to the
/// branch. An event that passes any of the filters starts one. The execution copies the commit that
/// started it, which may be on another branch, a tag or a pull request.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.push) || has(self.pullRequest)")
    .message("triggers: write push, pullRequest or both; to have no push start anything, write \
         detectChanges: false in their place"))]
pub struct TriggersSpec {
    /// Push filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "atomic"))]
    pub push: Option<Vec<PushFilterSpec>>,

    /// Pull request filters.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 3), extend("x-kubernetes-list-type" = "atomic"))]
    pub pull_request: Option<Vec<PullRequestFilterSpec>>,
}

/// A push filter: tags, or branches with or without file paths.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("has(self.tags) != (has(self.branches) || has(self.filePaths))")
        .message("push: write either tags, or branches, the latter with filePaths or without"),
    validation = Rule::new("!has(self.filePaths) || has(self.branches)")
        .message("push: AWS takes filePaths only beside branches; write branches, too, for all of \
             them with includes ['**']")
)]
pub struct PushFilterSpec {
    /// Names of the branches that are pushed to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches: Option<PatternsSpec>,

    /// Names of the tags that are pushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tags: Option<PatternsSpec>,

    /// Paths of the files that changed. AWS takes them only beside `branches`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_paths: Option<PatternsSpec>,
}

/// A pull request filter: branches with or without file paths.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[x_kube(validation = Rule::new("has(self.branches)")
    .message("pullRequest: write branches, for all of them with includes ['**']; AWS takes \
         filePaths only beside them"))]
pub struct PullRequestFilterSpec {
    /// Pull request events. Default: all of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(
        length(min = 1, max = 3),
        extend("items" = {"type": "string", "maxLength": 7, "enum": ["OPEN", "UPDATED", "CLOSED"]}),
        extend("x-kubernetes-list-type" = "set")
    )]
    pub events: Option<Vec<String>>,

    /// Target branches of the pull request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub branches: Option<PatternsSpec>,

    /// Paths of the files that changed. AWS takes them only beside `branches`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file_paths: Option<PatternsSpec>,
}

/// Glob patterns (`*`, `**`, `?`, `{a,b}`). A name that matches an exclude is excluded, whatever
/// the includes say.
#[derive(KubeSchema, Serialize, Deserialize, Clone, Debug, Default, PartialEq)]
#[x_kube(validation = Rule::new("has(self.includes) || has(self.excludes)")
    .message("write includes, excludes or both"))]
pub struct PatternsSpec {
    /// Patterns to include. Default: everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "patterns")]
    pub includes: Option<Vec<String>>,

    /// Patterns to exclude.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "patterns")]
    pub excludes: Option<Vec<String>>,
}

fn patterns(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "description": "At most eight glob patterns.",
        "type": "array", "minItems": 1, "maxItems": 8, "x-kubernetes-list-type": "set",
        "items": {"type": "string", "minLength": 1, "maxLength": 255},
    })
}
