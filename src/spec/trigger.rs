//! Triggers: filters for the events that start executions, instead of every push to the branch.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-filter.html>

use std::collections::BTreeSet;

use serde::Serialize;

use crate::api::trigger::{PatternsSpec, PullRequestFilterSpec, PushFilterSpec, TriggersSpec};
use crate::domain::names::SOURCE;

/// The filters. An event starts an execution if one of them lets it through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Triggers {
    /// Name of the source action.
    #[serde(skip)]
    pub source: String,
    /// Filters for pushes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub push: Vec<Filter>,
    /// Filters for pull requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pull_request: Vec<Filter>,
}

/// A filter for events. It lets an event through if all of its parts do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// Events of pull requests: `OPEN`, `UPDATED` and `CLOSED`.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub events: BTreeSet<String>,
    /// Branches; for a pull request, its target branch.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub branches: Patterns,
    /// Tags.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub tags: Patterns,
    /// Paths of changed files.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub file_paths: Patterns,
}

/// Glob patterns. `excludes` wins over `includes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Patterns {
    /// Patterns that let a value through; everything passes if there are none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub includes: BTreeSet<String>,
    /// Patterns that keep a value out.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub excludes: BTreeSet<String>,
}

impl Patterns {
    /// Whether the patterns let everything through.
    pub fn is_empty(&self) -> bool {
        self.includes.is_empty() && self.excludes.is_empty()
    }
}

/// AWS's default events of pull requests.
pub const EVENTS: [&str; 3] = ["OPEN", "UPDATED", "CLOSED"];

impl From<TriggersSpec> for Triggers {
    fn from(spec: TriggersSpec) -> Self {
        Self {
            source: SOURCE.to_owned(),
            push: spec.push.into_iter().flatten().map(Filter::from).collect(),
            pull_request: spec
                .pull_request
                .into_iter()
                .flatten()
                .map(Filter::from)
                .collect(),
        }
    }
}

impl From<PushFilterSpec> for Filter {
    fn from(spec: PushFilterSpec) -> Self {
        let PushFilterSpec {
            branches,
            tags,
            file_paths,
        } = spec;
        Self {
            events: BTreeSet::new(),
            branches: branches.into(),
            tags: tags.into(),
            file_paths: file_paths.into(),
        }
    }
}

impl From<PullRequestFilterSpec> for Filter {
    fn from(spec: PullRequestFilterSpec) -> Self {
        let PullRequestFilterSpec {
            events,
            branches,
            file_paths,
        } = spec;
        let events = events.unwrap_or_else(|| EVENTS.map(str::to_owned).to_vec());
        let events = events.into_iter().collect();
        Self {
            events,
            branches: branches.into(),
            tags: Patterns::default(),
            file_paths: file_paths.into(),
        }
    }
}

impl From<Option<PatternsSpec>> for Patterns {
    fn from(spec: Option<PatternsSpec>) -> Self {
        let PatternsSpec { includes, excludes } = spec.unwrap_or_default();
        let set = |patterns: Option<Vec<String>>| patterns.into_iter().flatten().collect();
        Self {
            includes: set(includes),
            excludes: set(excludes),
        }
    }
}
