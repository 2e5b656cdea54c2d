//! Triggers: filters for the events that start executions, instead of every push to the branch.
//! <https://docs.aws.amazon.com/codepipeline/latest/userguide/pipelines-filter.html>

use std::collections::BTreeSet;

use serde::Serialize;

use crate::api::trigger::{PatternsSpec, PullRequestFilterSpec, PushFilterSpec, TriggersSpec};
use crate::domain::names::SOURCE;
use crate::domain::refusal::{Refusal, invalid};

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

impl Triggers {
    /// Parses the filters. The schema refuses the same of new objects; an older object may still
    /// have it.
    pub fn parse(spec: TriggersSpec) -> Result<Self, Refusal> {
        let triggers = Self::from(spec);
        let lone = |filter: &&Filter| filter.branches.is_empty() && !filter.file_paths.is_empty();
        let mut all = triggers.push.iter().chain(&triggers.pull_request);
        match all.find(lone) {
            Some(_) => Err(invalid(
                "pipeline.triggers: AWS takes filePaths only beside branches; write branches in \
                 the same filter, for all of them with includes ['**']",
            )),
            None => Ok(triggers),
        }
    }

    /// Whether these are the triggers that CodePipeline shows of a V2 pipeline that has none of its
    /// own and detects changes: one filter that lets pushes to the pipeline's branch through.
    /// <https://github.com/hashicorp/terraform-provider-aws/issues/38409>
    pub fn are_default(&self, source: &str, branch: &str) -> bool {
        let default = Filter {
            branches: Patterns {
                includes: BTreeSet::from([branch.to_owned()]),
                excludes: BTreeSet::new(),
            },
            ..Filter::default()
        };
        let Self {
            source: of,
            push,
            pull_request,
        } = self;
        let empty = push.is_empty() && pull_request.is_empty();
        of == source && (empty || (*push == [default] && pull_request.is_empty()))
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: serde_json::Value) -> Result<Triggers, Refusal> {
        Triggers::parse(serde_json::from_value(yaml).unwrap())
    }

    #[test]
    fn file_paths_stand_beside_branches() {
        let (paths, branches) = (
            serde_json::json!({"includes": ["docs/**"]}),
            serde_json::json!({"includes": ["main"]}),
        );
        for kind in ["push", "pullRequest"] {
            let lone = serde_json::json!({kind: [{"filePaths": paths}]});
            let refusal = parse(lone).unwrap_err();
            assert!(refusal.message.contains("write branches"), "{refusal:?}");
            let both = serde_json::json!({kind: [{"filePaths": paths, "branches": branches}]});
            assert!(parse(both).is_ok(), "{kind}");
            let empty = serde_json::json!({kind: [{"branches": branches}, {"filePaths": paths}]});
            assert!(parse(empty).is_err(), "{kind}");
        }
    }

    #[test]
    fn the_triggers_that_codepipeline_adds_are_told_from_others() {
        let push =
            |filter: serde_json::Value| parse(serde_json::json!({"push": [filter]})).unwrap();
        let main = push(serde_json::json!({"branches": {"includes": ["main"]}}));
        assert!(main.are_default(SOURCE, "main"));
        assert!(!main.are_default(SOURCE, "next"));
        assert!(!main.are_default("Checkout", "main"));
        for other in [
            serde_json::json!({"branches": {"includes": ["main", "next"]}}),
            serde_json::json!({"branches": {"includes": ["main"], "excludes": ["x"]}}),
            serde_json::json!({"branches": {"includes": ["main"]}, "filePaths": {"includes": ["a"]}}),
            serde_json::json!({"tags": {"includes": ["main"]}}),
        ] {
            assert!(!push(other.clone()).are_default(SOURCE, "main"), "{other}");
        }
        let proposed = serde_json::json!({"pullRequest": [{"branches": {"includes": ["main"]}}]});
        assert!(!parse(proposed).unwrap().are_default(SOURCE, "main"));
    }
}
