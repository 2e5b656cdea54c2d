//! Whether an execution has to be started: a change delivers, once.

use jiff::{SignedDuration, Timestamp};

use crate::api::status::DeliveredStatus;
use crate::domain::execution::{Execution, ExecutionState, Failure, FailureKind, Target};

/// Why an execution is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Repository, branch, bucket or prefix changed.
    TargetChanged,
    /// An update of the pipeline cancelled an execution.
    Cancelled,
    /// The last execution failed, and the pipeline was changed since.
    FailedBefore,
    /// The destination bucket was made anew.
    BucketMadeAnew,
    /// The last success was before the notification rule, so nobody heard of it.
    Unannounced,
    /// The last execution was refused for permissions that were written since.
    PermissionsWritten,
    /// What pruning deleted after the execution before may be what this one wrote.
    PrunedInto,
}

impl Cause {
    /// One word, which never changes: tokens of requests are made of it, so that the same cause
    /// starts one execution however its message is worded.
    pub fn key(self) -> &'static str {
        match self {
            Self::TargetChanged => "TargetChanged",
            Self::Cancelled => "Cancelled",
            Self::FailedBefore => "FailedBefore",
            Self::BucketMadeAnew => "BucketMadeAnew",
            Self::Unannounced => "Unannounced",
            Self::PermissionsWritten => "PermissionsWritten",
            Self::PrunedInto => "PrunedInto",
        }
    }

    /// As it stands in events.
    pub fn message(self) -> &'static str {
        match self {
            Self::TargetChanged => "the source or the destination changed",
            Self::Cancelled => "an update of the pipeline cancelled the execution before",
            Self::FailedBefore => "the execution before failed, and the pipeline was changed since",
            Self::BucketMadeAnew => "the destination bucket was made anew",
            Self::Unannounced => {
                "the execution before succeeded while there was no notification rule yet"
            }
            Self::PermissionsWritten => {
                "the execution before was refused for permissions that were written since"
            }
            Self::PrunedInto => "files were pruned while the execution before wrote them",
        }
    }
}

/// What the executions of a pipeline have done, as far as a pass knows.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// Newest first, where they were read.
    pub executions: Option<Vec<Execution>>,
    /// Why the newest execution failed.
    pub failure: Option<Failure>,
    /// What is in the bucket now, where that is known.
    pub delivered: Option<DeliveredStatus>,
    /// The repository's provider; empty where the connection's host decides it.
    pub provider: String,
}

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it runs, it is delivered, or only a person or a push can help.
    Nothing,
    /// Look again at this time.
    Wait(Timestamp),
    /// Start one.
    Start(Cause),
}

/// What the verdict rests on.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// What the pipeline copies now.
    pub target: &'a Target,
    /// What was last delivered.
    pub delivered: Option<&'a Target>,
    /// Newest first.
    pub executions: &'a [Execution],
    /// Counts the pipeline's updates from 1.
    pub pipeline_version: i32,
    /// When the pipeline last changed.
    pub pipeline_updated_at: Timestamp,
    /// When the notification rule was made, if successes are announced.
    pub announced_since: Option<Timestamp>,
    /// When the destination bucket was made, if it is ours.
    pub bucket_created_at: Option<Timestamp>,
    /// When the role's permissions were last written.
    pub permissions_written_at: Option<Timestamp>,
    /// Why the newest execution failed.
    pub failure: Option<&'a Failure>,
    /// The time.
    pub now: Timestamp,
}

/// IAM is eventually consistent: what an execution is refused within this time after a write may be
/// the write not having arrived.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
const PROPAGATION: SignedDuration = SignedDuration::from_secs(300);
/// How long to wait before each of the two further tries.
const RETRY_AFTER: [SignedDuration; 2] =
    [SignedDuration::from_secs(10), SignedDuration::from_secs(30)];

/// Whether an execution has to be started. Each cause ends with the execution
/// that it starts: asked again about that one, the answer is another.
pub fn verdict(d: &Evidence<'_>) -> Verdict {
    let Some(newest) = d.executions.first() else {
        // CodePipeline runs a new pipeline by itself; an old one's history may have expired.
        let changed = d.pipeline_version > 1 && d.delivered != Some(d.target);
        return if changed {
            Verdict::Start(Cause::TargetChanged)
        } else {
            Verdict::Nothing
        };
    };
    if d.executions.iter().any(|e| e.state.is_running()) {
        return Verdict::Nothing;
    }
    let before_update = newest.started_at < d.pipeline_updated_at;
    if newest.state == ExecutionState::Cancelled && before_update {
        return Verdict::Start(Cause::Cancelled);
    }
    if d.delivered != Some(d.target) && before_update {
        return Verdict::Start(Cause::TargetChanged);
    }
    if newest.state == ExecutionState::Failed && before_update {
        return Verdict::Start(Cause::FailedBefore);
    }
    if d.bucket_created_at
        .is_some_and(|made| newest.started_at < made)
    {
        return Verdict::Start(Cause::BucketMadeAnew);
    }
    if newest.state == ExecutionState::Succeeded
        && d.announced_since
            .is_some_and(|since| newest.updated_at < since)
    {
        return Verdict::Start(Cause::Unannounced);
    }
    match (&newest.state, d.failure, d.permissions_written_at) {
        (ExecutionState::Failed, Some(failure), Some(written))
            if failure.kind() == FailureKind::Permission =>
        {
            after_refusal(d, newest, written)
        }
        _ => Verdict::Nothing,
    }
}

fn after_refusal(d: &Evidence<'_>, newest: &Execution, written: Timestamp) -> Verdict {
    if newest.started_at > written + PROPAGATION {
        return Verdict::Nothing;
    }
    let tries = d.executions.iter().filter(|e| {
        e.started_at >= written
            && e.state == ExecutionState::Failed
            && e.trigger.as_deref() == Some("StartPipelineExecution")
    });
    let Some(delay) = RETRY_AFTER.get(tries.count()) else {
        return Verdict::Nothing;
    };
    let due = newest.updated_at.max(written) + *delay;
    if d.now < due {
        Verdict::Wait(due)
    } else {
        Verdict::Start(Cause::PermissionsWritten)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + second).unwrap()
    }

    fn target(branch: &str) -> Target {
        Target {
            repository: "a/b".into(),
            branch: branch.into(),
            bucket: "d".into(),
            prefix: "a/b".into(),
        }
    }

    fn ran(state: &str, start: i64, end: i64) -> Execution {
        Execution {
            id: format!("e{start}"),
            state: ExecutionState::parse(state),
            trigger: Some("StartPipelineExecution".into()),
            commit: None,
            started_at: at(start),
            updated_at: at(end),
        }
    }

    /// A pipeline updated at 10 whose executions are these, with nothing else to say.
    fn delivery<'a>(
        target: &'a Target,
        delivered: Option<&'a Target>,
        executions: &'a [Execution],
    ) -> Evidence<'a> {
        Evidence {
            target,
            delivered,
            executions,
            pipeline_version: 2,
            pipeline_updated_at: at(10),
            announced_since: Some(at(0)),
            bucket_created_at: Some(at(0)),
            permissions_written_at: None,
            failure: None,
            now: at(1000),
        }
    }

    #[test]
    fn a_request_token_is_made_of_one_word_a_cause_and_of_no_sentence() {
        let all = [
            Cause::TargetChanged,
            Cause::Cancelled,
            Cause::FailedBefore,
            Cause::BucketMadeAnew,
            Cause::Unannounced,
            Cause::PermissionsWritten,
            Cause::PrunedInto,
        ];
        let keys: std::collections::BTreeSet<&str> = all.iter().map(|c| c.key()).collect();
        assert_eq!(keys.len(), all.len());
        for cause in all {
            assert_eq!(
                cause.key(),
                format!("{cause:?}"),
                "a message may be reworded, a key not"
            );
            assert!(cause.message().contains(' '));
        }
    }

    #[test]
    fn a_new_pipeline_is_left_to_run_by_itself() {
        let t = target("main");
        assert_eq!(
            verdict(&Evidence {
                pipeline_version: 1,
                ..delivery(&t, None, &[])
            }),
            Verdict::Nothing
        );
        assert_eq!(
            verdict(&delivery(&t, None, &[])),
            Verdict::Start(Cause::TargetChanged)
        );
        assert_eq!(verdict(&delivery(&t, Some(&t), &[])), Verdict::Nothing);
    }

    #[test]
    fn a_changed_target_is_delivered_once() {
        let (old, new) = (target("main"), target("next"));
        let before = [ran("Succeeded", 1, 2)];
        assert_eq!(
            verdict(&delivery(&new, Some(&old), &before)),
            Verdict::Start(Cause::TargetChanged)
        );
        assert_eq!(
            verdict(&delivery(&old, Some(&old), &before)),
            Verdict::Nothing
        );
        for state in ["InProgress", "Failed", "Stopped"] {
            let after = [ran(state, 11, 12), ran("Succeeded", 1, 2)];
            assert_eq!(
                verdict(&delivery(&new, Some(&old), &after)),
                Verdict::Nothing,
                "{state}"
            );
        }
    }

    #[test]
    fn what_an_update_cancelled_runs_again() {
        let t = target("main");
        assert_eq!(
            verdict(&delivery(&t, Some(&t), &[ran("Cancelled", 9, 10)])),
            Verdict::Start(Cause::Cancelled)
        );
        assert_eq!(
            verdict(&delivery(
                &t,
                Some(&t),
                &[ran("InProgress", 11, 11), ran("Cancelled", 9, 10)]
            )),
            Verdict::Nothing
        );
    }

    #[test]
    fn an_empty_bucket_and_an_unheard_success_run_once_more() {
        let t = target("main");
        let success = [ran("Succeeded", 20, 25)];
        let anew = Evidence {
            bucket_created_at: Some(at(30)),
            ..delivery(&t, Some(&t), &success)
        };
        assert_eq!(verdict(&anew), Verdict::Start(Cause::BucketMadeAnew));
        let unheard = Evidence {
            announced_since: Some(at(26)),
            ..delivery(&t, Some(&t), &success)
        };
        assert_eq!(verdict(&unheard), Verdict::Start(Cause::Unannounced));
        assert_eq!(
            verdict(&Evidence {
                announced_since: None,
                ..unheard
            }),
            Verdict::Nothing
        );
    }

    #[test]
    fn a_refused_execution_is_tried_twice_more_after_permissions_were_written() {
        let t = target("main");
        let refused = Failure {
            stage: "Deploy".into(),
            code: Some("PermissionError".into()),
            message: "no".into(),
        };
        let first = Execution {
            trigger: Some("CreatePipeline".into()),
            ..ran("Failed", 20, 21)
        };
        let mut executions = vec![first];
        let ask = |executions: &[Execution], now| {
            verdict(&Evidence {
                permissions_written_at: Some(at(15)),
                failure: Some(&refused),
                now: at(now),
                ..delivery(&t, None, executions)
            })
        };
        assert_eq!(ask(&executions, 22), Verdict::Wait(at(31)));
        assert_eq!(
            ask(&executions, 31),
            Verdict::Start(Cause::PermissionsWritten)
        );
        executions.insert(0, ran("Failed", 31, 32));
        assert_eq!(ask(&executions, 33), Verdict::Wait(at(62)));
        executions.insert(0, ran("Failed", 62, 63));
        assert_eq!(ask(&executions, 5000), Verdict::Nothing);
        let much_later = [ran("Failed", 5000, 5001)];
        assert_eq!(ask(&much_later, 6000), Verdict::Nothing);
    }

    #[test]
    fn a_failure_of_another_kind_waits_for_a_person() {
        let t = target("main");
        let failure = Failure {
            stage: "Source".into(),
            code: None,
            message: "No branch [x] found for repository a/b".into(),
        };
        let d = [ran("Failed", 20, 21)];
        let d = Evidence {
            permissions_written_at: Some(at(15)),
            failure: Some(&failure),
            ..delivery(&t, None, &d)
        };
        assert_eq!(verdict(&d), Verdict::Nothing);
        // The person changed the spec, be it back to what was delivered before.
        let mended = Evidence {
            pipeline_updated_at: at(30),
            ..d
        };
        assert_eq!(
            verdict(&Evidence {
                delivered: Some(&t),
                ..mended
            }),
            Verdict::Start(Cause::FailedBefore)
        );
    }
}
