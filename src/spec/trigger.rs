//! What starts executions in the place of every push to the branch.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-filter.html>

use std::collections::BTreeSet;

use serde::Serialize;

use crate::api::trigger::{PatternsSpec, PullRequestFilterSpec, PushFilterSpec, TriggersSpec};
use crate::domain::names::SOURCE;

/// The filters; one that lets an event through is enough.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Triggers {
    /// Name of the source action.
    #[serde(skip)]
    pub source: String,
    /// Of pushes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub push: Vec<Filter>,
    /// Of pull requests.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub pull_request: Vec<Filter>,
}

/// All parts of a filter have to let an event through.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Filter {
    /// `OPEN`, `UPDATED` and `CLOSED` of a pull request.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub events: BTreeSet<String>,
    /// Branches; of a pull request the one that it is to go into.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub branches: Patterns,
    /// Tags.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub tags: Patterns,
    /// Paths of changed files.
    #[serde(skip_serializing_if = "Patterns::is_empty")]
    pub file_paths: Patterns,
}

/// Glob patterns; one of `excludes` goes before one of `includes`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Patterns {
    /// What is let through; everything if none.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub includes: BTreeSet<String>,
    /// What is not.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub excludes: BTreeSet<String>,
}

impl Patterns {
    /// Whether it lets everything through.
    pub fn is_empty(&self) -> bool {
        self.includes.is_empty() && self.excludes.is_empty()
    }
}

/// What AWS takes for granted of pull requests.
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
