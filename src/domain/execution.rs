//! Executions of a pipeline: their states, commits and failures.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::api::status::{CommitStatus, DeliveredStatus, ExecutionStatus, FailureStatus};
use crate::domain::placement::Placement;

/// Source and destination of the copy that a pipeline's declaration makes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// `owner/name`.
    pub repository: String,
    /// The branch.
    pub branch: String,
    /// The destination bucket.
    pub bucket: String,
    /// The prefix under it.
    pub prefix: String,
}

/// CodePipeline's execution statuses.
/// <https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_PipelineExecutionSummary.html>
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExecutionState {
    /// It is running or stopping.
    Running(String),
    /// It succeeded.
    Succeeded,
    /// It failed.
    Failed,
    /// An update of the pipeline's structure cancelled it.
    Cancelled,
    /// A person stopped it, or a newer execution superseded it.
    Other(String),
}

impl ExecutionState {
    /// Parses CodePipeline's word.
    pub fn parse(word: &str) -> Self {
        match word {
            "InProgress" | "Stopping" => Self::Running(word.to_owned()),
            "Succeeded" => Self::Succeeded,
            "Failed" => Self::Failed,
            "Cancelled" => Self::Cancelled,
            other => Self::Other(other.to_owned()),
        }
    }

    /// CodePipeline's word.
    pub fn as_str(&self) -> &str {
        match self {
            Self::Running(word) | Self::Other(word) => word,
            Self::Succeeded => "Succeeded",
            Self::Failed => "Failed",
            Self::Cancelled => "Cancelled",
        }
    }

    /// Whether it has not ended yet.
    pub fn is_running(&self) -> bool {
        matches!(self, Self::Running(_))
    }
}

/// A commit, as the Source stage reported it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The commit's id in full.
    pub id: String,
    /// Its message.
    pub message: Option<String>,
}

impl Commit {
    /// The commit as status records it, with its page at the provider.
    pub fn status(&self, repository: &str, provider: &str) -> CommitStatus {
        let id = &self.id;
        // The revision's own URL leads to the AWS console. Self-hosted providers are not known here.
        let url = match provider {
            "GitHub" => Some(format!("https://github.com/{repository}/commit/{id}")),
            "GitLab" => Some(format!("https://gitlab.com/{repository}/-/commit/{id}")),
            "Bitbucket" => Some(format!("https://bitbucket.org/{repository}/commits/{id}")),
            _ => None,
        };
        let first_line = |message: &String| {
            let line = message.lines().next().unwrap_or_default();
            line.chars().take(256).collect()
        };
        CommitStatus {
            id: id.clone(),
            short_id: id.chars().take(7).collect(),
            message: self.message.as_ref().map(first_line),
            url,
        }
    }
}

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// CodePipeline's id.
    pub id: String,
    /// Its state.
    pub state: ExecutionState,
    /// The event that started it.
    pub trigger: Option<String>,
    /// The commit that it copies.
    pub commit: Option<Commit>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last changed; after its end, the time of its end.
    pub updated_at: Timestamp,
}

impl Execution {
    /// The execution as status records it.
    pub fn status(
        &self,
        repository: &str,
        provider: &str,
        place: &Placement,
        failure: Option<FailureStatus>,
    ) -> ExecutionStatus {
        let ended = !self.state.is_running();
        ExecutionStatus {
            id: self.id.clone(),
            status: self.state.as_str().to_owned(),
            trigger: self.trigger.clone(),
            commit: self.commit.as_ref().map(|c| c.status(repository, provider)),
            started_at: Some(whole_second(self.started_at)),
            finished_at: ended.then(|| whole_second(self.updated_at)),
            url: Some(place.execution_url(&place.base_name, &self.id)),
            failure: failure.map(Box::new),
        }
    }

    /// The execution's delivery as status records it.
    pub fn delivered(&self, target: &Target, provider: &str) -> DeliveredStatus {
        let commit = self.commit.as_ref();
        DeliveredStatus {
            execution: self.id.clone(),
            commit: commit.map(|c| c.status(&target.repository, provider)),
            repository: target.repository.clone(),
            branch: target.branch.clone(),
            bucket: target.bucket.clone(),
            prefix: target.prefix.clone(),
            at: Some(whole_second(self.updated_at)),
        }
    }
}

/// An action that has not ended yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunningAction {
    /// Its stage, as the pipeline names it.
    pub stage: String,
    /// Whether it reads the repository; the other one copies to the bucket.
    pub is_source: bool,
    /// When it started.
    pub since: Timestamp,
}

/// How long a stage may run before its execution counts as stuck.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StageLimits {
    /// The stage that reads the repository. AWS ends it after days, if at all (aws-cdk#10629).
    pub source: Duration,
    /// The stage that copies to the bucket. AWS ends it after 90 minutes.
    pub deploy: Duration,
}

/// An execution that runs for longer than its stage may take.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// CodePipeline's id.
    pub execution: String,
    /// The action that does not end.
    pub action: RunningAction,
    /// How long its stage may take.
    pub limit: Duration,
    /// Whether a person stopped it already.
    pub is_stopping: bool,
}

impl StageLimits {
    /// Returns the oldest running execution, if it started so long ago that it may be stuck. The
    /// others wait for it.
    pub fn suspect<'a>(
        &self,
        executions: &'a [Execution],
        now: Timestamp,
    ) -> Option<&'a Execution> {
        let oldest = executions.iter().rev().find(|e| e.state.is_running())?;
        exceeds(self.source.min(self.deploy), oldest.started_at, now).then_some(oldest)
    }

    /// Returns whether this action of the execution is stuck.
    pub fn stuck(
        &self,
        execution: &Execution,
        action: RunningAction,
        now: Timestamp,
    ) -> Option<Stuck> {
        let limit = match action.is_source {
            true => self.source,
            false => self.deploy,
        };
        exceeds(limit, action.since, now).then(|| Stuck {
            execution: execution.id.clone(),
            action,
            limit,
            is_stopping: execution.state.as_str() == "Stopping",
        })
    }
}

fn exceeds(limit: Duration, since: Timestamp, now: Timestamp) -> bool {
    SignedDuration::try_from(limit).is_ok_and(|limit| now.duration_since(since) >= limit)
}

impl Stuck {
    /// Whether stopping it has to abandon the action. One that reads the repository has written
    /// nothing to the destination. A copy that is abandoned goes on in S3, so it is first asked to
    /// end by itself.
    /// <https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts.html#concepts-executions-stopped>
    pub fn abandons(&self) -> bool {
        self.action.is_source || self.is_stopping
    }
}

/// The API server keeps no fractions of a second.
fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

/// Why an execution failed, from its failed action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stage: `Source` or `Deploy`.
    pub stage: String,
    /// CodePipeline's error code.
    pub code: Option<String>,
    /// CodePipeline's message.
    pub message: String,
}

/// The kind of a failure, as far as its code and message show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The pipeline's role was refused.
    Permission,
    /// The provider's app may not read the repository, or the repository does not exist.
    Repository,
    /// Anything else while the repository was read, or before the first action: as a rule the
    /// provider or CodePipeline failed, and another execution may succeed.
    Passing,
    /// Anything else.
    Other,
}

impl Failure {
    /// The kind of the failure. CodePipeline documents neither codes nor messages of failed actions,
    /// so this reads both, and what it does not recognize is `Passing` where the repository was read,
    /// and else `Other`.
    pub fn kind(&self) -> FailureKind {
        let message = self.message.to_ascii_lowercase();
        let code = self.code.as_deref().unwrap_or_default();
        let has = |needles: &[&str]| needles.iter().any(|n| message.contains(n));
        if code == "PermissionError"
            || has(&[
                "not authorized",
                "access denied",
                "accessdenied",
                "sufficient permissions",
                "insufficient permissions",
            ])
        {
            FailureKind::Permission
        } else if self.stage == "Source" && has(&["repository"]) && !has(&["branch"]) {
            FailureKind::Repository
        } else if self.stage.is_empty()
            || (self.stage == "Source"
                && code != "ConfigurationError"
                && !has(&["branch", "connection", "configuration"]))
        {
            FailureKind::Passing
        } else {
            FailureKind::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit() -> Commit {
        Commit {
            id: "0123456789abcdef0123456789abcdef01234567".to_owned(),
            message: Some("Mend the link\n\nIt was dead.".to_owned()),
        }
    }

    #[test]
    fn a_commit_has_a_page_where_its_provider_is_known() {
        let id = commit().id;
        for (provider, url) in [
            (
                "GitHub",
                Some(format!("https://github.com/acme/docs/commit/{id}")),
            ),
            (
                "GitLab",
                Some(format!("https://gitlab.com/acme/docs/-/commit/{id}")),
            ),
            (
                "Bitbucket",
                Some(format!("https://bitbucket.org/acme/docs/commits/{id}")),
            ),
            ("GitHubEnterpriseServer", None),
            ("", None),
        ] {
            let status = commit().status("acme/docs", provider);
            assert_eq!(status.url, url, "{provider}");
            assert_eq!(status.short_id, "0123456");
            assert_eq!(status.message.as_deref(), Some("Mend the link"));
        }
    }

    #[test]
    fn what_was_delivered_is_recorded_in_whole_seconds() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        let execution = Execution {
            id: "e1".to_owned(),
            state: ExecutionState::Succeeded,
            trigger: None,
            commit: Some(commit()),
            started_at: at("2026-01-01T00:00:00Z"),
            updated_at: at("2026-01-01T00:01:30.75Z"),
        };
        let target = Target {
            repository: "acme/docs".to_owned(),
            branch: "main".to_owned(),
            bucket: "b".to_owned(),
            prefix: "acme/docs".to_owned(),
        };
        let delivered = execution.delivered(&target, "GitHub");
        assert_eq!(delivered.at, Some(at("2026-01-01T00:01:30Z")));
        assert_eq!(delivered.execution, "e1");
        assert_eq!(
            delivered.commit,
            Some(commit().status("acme/docs", "GitHub"))
        );
    }

    #[test]
    fn a_failure_is_of_the_kind_that_its_code_and_words_tell() {
        use FailureKind::{Other, Passing, Permission, Repository};
        let table = [
            ("Deploy", Some("PermissionError"), "anything", Permission),
            (
                "Deploy",
                None,
                "User is not authorized to perform s3:PutObject",
                Permission,
            ),
            (
                "Deploy",
                None,
                "Access Denied (Service: Amazon S3)",
                Permission,
            ),
            ("Source", None, "AccessDenied", Permission),
            (
                "Source",
                None,
                "The role has insufficient permissions",
                Permission,
            ),
            (
                "Source",
                None,
                "does not have sufficient permissions",
                Permission,
            ),
            (
                "Source",
                None,
                "Could not access the GitHub repository a/b",
                Repository,
            ),
            (
                "Source",
                None,
                "No Branch [x] found for Repository a/b",
                Other,
            ),
            (
                "Deploy",
                None,
                "Could not access the GitHub repository a/b",
                Other,
            ),
            (
                "Deploy",
                Some("JobFailed"),
                "The bucket does not exist",
                Other,
            ),
            ("Source", Some("permissionerror"), "", Passing),
            ("", None, "it failed before its first action", Passing),
            (
                "Source",
                Some("JobFailed"),
                "[GitHub] The provider answered with an internal error. Try again later.",
                Passing,
            ),
            (
                "Source",
                Some("ConfigurationError"),
                "The provider answered with an internal error",
                Other,
            ),
            ("Source", None, "Connection arn:c is not available", Other),
            ("Deploy", None, "internal error", Other),
        ];
        for (stage, code, message, kind) in table {
            let failure = Failure {
                stage: stage.into(),
                code: code.map(str::to_owned),
                message: message.into(),
            };
            assert_eq!(failure.kind(), kind, "{stage} {code:?} {message}");
        }
    }

    #[test]
    fn an_action_is_stuck_once_its_stage_took_longer_than_it_may() {
        let at = |second: i64| Timestamp::from_second(second).unwrap();
        let limits = StageLimits {
            source: Duration::from_secs(30),
            deploy: Duration::from_secs(100),
        };
        let execution = |id: &str, word: &str, start: i64| Execution {
            id: id.to_owned(),
            state: ExecutionState::parse(word),
            trigger: None,
            commit: None,
            started_at: at(start),
            updated_at: at(start),
        };
        let all = [
            execution("waits", "InProgress", 50),
            execution("runs", "InProgress", 10),
            execution("done", "Succeeded", 0),
        ];
        assert_eq!(limits.suspect(&all, at(39)), None);
        assert_eq!(limits.suspect(&all, at(40)), Some(&all[1]));
        assert_eq!(limits.suspect(&all[2..], at(999)), None);
        let action = |is_source, since| RunningAction {
            stage: "S".to_owned(),
            is_source,
            since: at(since),
        };
        let stuck = |is_source, since, now| {
            limits
                .stuck(&all[1], action(is_source, since), at(now))
                .is_some()
        };
        assert!(!stuck(true, 10, 39) && stuck(true, 10, 40));
        assert!(!stuck(false, 20, 119) && stuck(false, 20, 120));
        // A copy is asked to end by itself before it is abandoned.
        let abandons = |word, is_source| {
            let execution = execution("e", word, 0);
            let stuck = limits.stuck(&execution, action(is_source, 0), at(999));
            stuck.unwrap().abandons()
        };
        assert!(abandons("InProgress", true) && abandons("Stopping", false));
        assert!(!abandons("InProgress", false));
    }

    #[test]
    fn states_keep_codepipelines_words() {
        for word in [
            "InProgress",
            "Stopping",
            "Succeeded",
            "Failed",
            "Cancelled",
            "Stopped",
            "Superseded",
        ] {
            let state = ExecutionState::parse(word);
            assert_eq!(state.as_str(), word);
            assert_eq!(
                state.is_running(),
                ["InProgress", "Stopping"].contains(&word),
                "{word}"
            );
        }
    }
}
