//! Executions of a pipeline: what ran, what it delivered, and what has to run.

use jiff::Timestamp;

/// What a declaration of the pipeline copies, from where to where.
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
    /// Still running, or stopping.
    Running(String),
    /// Ended well.
    Succeeded,
    /// Ended badly.
    Failed,
    /// Ended because the pipeline's structure was updated.
    Cancelled,
    /// Stopped by a person, or superseded by a newer one.
    Other(String),
}

impl ExecutionState {
    /// From CodePipeline's word.
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

/// One execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// CodePipeline's id.
    pub id: String,
    /// How far it is.
    pub state: ExecutionState,
    /// What started it.
    pub trigger: Option<String>,
    /// What it copies.
    pub commit: Option<Commit>,
    /// When it started.
    pub started_at: Timestamp,
    /// When it last changed; its end, once it has ended.
    pub updated_at: Timestamp,
}

/// Why an execution failed, from its failed action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The stage: `Source` or `Deploy`.
    pub stage: String,
    /// CodePipeline's error code.
    pub code: Option<String>,
    /// CodePipeline's words.
    pub message: String,
}

/// What kind of failure it is, as far as the words tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The pipeline's role was refused.
    Permission,
    /// The provider's app may not read the repository, or there is none.
    Repository,
    /// Anything else.
    Other,
}

impl Failure {
    /// CodePipeline documents neither codes nor texts of failed actions, so this
    /// reads both and calls unknown what it does not recognise.
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
        } else {
            FailureKind::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_of_the_kind_that_its_code_and_words_tell() {
        use FailureKind::{Other, Permission, Repository};
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
            ("Source", Some("permissionerror"), "", Other),
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
