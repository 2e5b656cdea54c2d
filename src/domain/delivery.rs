//! Decides whether an execution has to be started. Every change is delivered, once.

use jiff::{SignedDuration, Timestamp};

use crate::api::status::{DeliveredStatus, StartStatus};
use crate::domain::execution::{Execution, ExecutionState, Failure, FailureKind, Stuck, Target};

/// The cause for which an execution is started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// Repository, branch, bucket or prefix changed.
    TargetChanged,
    /// An update of the pipeline cancelled an execution.
    Cancelled,
    /// The last execution failed, and the pipeline was changed since.
    FailedBefore,
    /// The destination bucket was created again.
    BucketMadeAnew,
    /// The last success came before the notification rule, so it was not announced.
    Unannounced,
    /// The last execution lacked permissions that were written since.
    PermissionsWritten,
    /// Pruning deleted files while this execution may have written them.
    PrunedInto,
    /// The last execution failed because the provider or CodePipeline failed for a while.
    FailureMayPass,
}

impl Cause {
    /// A word that never changes. Request tokens contain it, so that the same cause starts one
    /// execution even if its message changes.
    pub fn key(self) -> &'static str {
        match self {
            Self::TargetChanged => "TargetChanged",
            Self::Cancelled => "Cancelled",
            Self::FailedBefore => "FailedBefore",
            Self::BucketMadeAnew => "BucketMadeAnew",
            Self::Unannounced => "Unannounced",
            Self::PermissionsWritten => "PermissionsWritten",
            Self::PrunedInto => "PrunedInto",
            Self::FailureMayPass => "FailureMayPass",
        }
    }

    /// The message in events.
    pub fn message(self) -> &'static str {
        match self {
            Self::TargetChanged => "the source or the destination changed",
            Self::Cancelled => "an update of the pipeline cancelled the previous execution",
            Self::FailedBefore => {
                "the previous execution failed, and the pipeline was changed since"
            }
            Self::BucketMadeAnew => "the destination bucket was created again",
            Self::Unannounced => {
                "the previous execution succeeded before the notification rule existed"
            }
            Self::PermissionsWritten => {
                "the previous execution lacked permissions that were written since"
            }
            Self::PrunedInto => "files were pruned while the previous execution wrote them",
            Self::FailureMayPass => {
                "the previous execution failed for a cause that may have passed by itself"
            }
        }
    }
}

/// The state of a pipeline's executions, as far as a pass knows it.
#[derive(Clone, Debug, Default)]
pub struct Delivery {
    /// The executions, newest first, if they were read.
    pub executions: Option<Vec<Execution>>,
    /// Why the newest execution failed.
    pub failure: Option<Failure>,
    /// The delivery that is in the bucket now, if it is known.
    pub delivered: Option<DeliveredStatus>,
    /// The repository's provider; empty if the connection's host decides it.
    pub provider: String,
    /// Why nothing more is delivered by itself now, although it should be.
    pub standstill: Option<Standstill>,
}

/// Why nothing more is delivered by itself now, although it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standstill {
    /// An execution does not end.
    Stuck(Stuck),
    /// An execution is due for this cause, and no more may be started.
    Exhausted(Cause, Exhausted),
}

/// Starts of our own for one commit, as long as the spec stays the same.
const STARTS_PER_COMMIT: usize = 3;
/// Starts of our own in 24 hours.
const STARTS_PER_DAY: usize = 10;
const DAY: SignedDuration = SignedDuration::from_hours(24);

/// Which limit of our own starts is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exhausted {
    /// The commit has had its starts.
    Commit,
    /// The day has had its starts; the next one may be started then.
    Day(Timestamp),
}

impl Exhausted {
    /// The limit in words.
    pub fn message(self) -> String {
        match self {
            Self::Commit => format!("{STARTS_PER_COMMIT} for this commit"),
            Self::Day(_) => format!("{STARTS_PER_DAY} in 24 hours"),
        }
    }
}

/// Records a start of our own, or returns the limit that forbids it. A start that is tried again,
/// because nobody knows whether it reached AWS, counts once.
///
/// # Errors
/// The limit that is reached.
pub fn count_start(
    starts: &[StartStatus],
    next: StartStatus,
) -> Result<Vec<StartStatus>, Exhausted> {
    if starts.iter().any(|start| start.token == next.token) {
        return Ok(starts.to_vec());
    }
    let same = |start: &&StartStatus| {
        start.commit == next.commit && start.spec_generation == next.spec_generation
    };
    if starts.iter().filter(same).count() >= STARTS_PER_COMMIT {
        return Err(Exhausted::Commit);
    }
    let recent = |start: &&StartStatus| next.at.duration_since(start.at) < DAY;
    let mut day = starts.iter().filter(recent).map(|start| start.at);
    if day.clone().count() >= STARTS_PER_DAY {
        let oldest = day.by_ref().min().unwrap_or(next.at);
        return Err(Exhausted::Day(oldest + DAY));
    }
    let kept = starts.iter().filter(|start| same(start) || recent(start));
    Ok(kept.cloned().chain([next.clone()]).collect())
}

/// The decision whether to start an execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Start none: one is running, all is delivered, or only a person or a push can help.
    Nothing,
    /// Decide again at this time.
    Wait(Timestamp),
    /// Start one for this cause.
    Start(Cause),
}

/// The facts on which the verdict is based.
#[derive(Clone, Debug)]
pub struct Evidence<'a> {
    /// Source and destination of the pipeline now.
    pub target: &'a Target,
    /// Source and destination of the last delivery.
    pub delivered: Option<&'a Target>,
    /// The executions, newest first.
    pub executions: &'a [Execution],
    /// The pipeline's version: it starts at 1, and each update adds one.
    pub pipeline_version: i32,
    /// When the pipeline last changed.
    pub pipeline_updated_at: Timestamp,
    /// When the notification rule was created, if successes are announced.
    pub announced_since: Option<Timestamp>,
    /// When the destination bucket was created, if the operator created it.
    pub bucket_created_at: Option<Timestamp>,
    /// When the role's permissions were last written.
    pub permissions_written_at: Option<Timestamp>,
    /// Why the newest execution failed.
    pub failure: Option<&'a Failure>,
    /// Delay before the first further attempt after a failure that may pass.
    pub pause: SignedDuration,
    /// The current time.
    pub now: Timestamp,
}

/// Time that IAM may take to propagate a write. A refusal within this time may mean that the write
/// has not arrived yet.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/troubleshoot.html#troubleshoot_general_eventual-consistency>
const PROPAGATION: SignedDuration = SignedDuration::from_secs(300);
/// Delay before each of the two further attempts.
const RETRY_AFTER: [SignedDuration; 2] =
    [SignedDuration::from_secs(10), SignedDuration::from_secs(30)];

/// Factors of the delay before each further attempt after a failure that may pass.
const PAUSES: [i32; STARTS_PER_COMMIT] = [1, 5, 15];

/// Decides whether an execution has to be started. The execution that a cause starts ends that
/// cause: once it is the newest one, the same cause does not start another.
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
        (ExecutionState::Failed, Some(failure), _) if failure.kind() == FailureKind::Passing => {
            after_hiccup(d, newest)
        }
        _ => Verdict::Nothing,
    }
}

/// The newest executions that we started and that failed in a row tell how long to wait. What has
/// been tried as often as it may is decided by [`count_start`], which says so on the object.
fn after_hiccup(d: &Evidence<'_>, newest: &Execution) -> Verdict {
    let ours = d.executions.iter().take_while(|e| {
        e.state == ExecutionState::Failed && e.trigger.as_deref() == Some("StartPipelineExecution")
    });
    let factor = PAUSES[ours.count().min(PAUSES.len() - 1)];
    let due = newest.updated_at + d.pause * factor;
    if d.now < due {
        Verdict::Wait(due)
    } else {
        Verdict::Start(Cause::FailureMayPass)
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
            pause: SignedDuration::from_secs(60),
            now: at(1000),
        }
    }

    #[test]
    fn a_failure_that_may_pass_is_tried_again_with_a_growing_pause() {
        let t = target("main");
        let failure = Failure {
            stage: "Source".into(),
            code: Some("JobFailed".into()),
            message: "The provider answered with an internal error".into(),
        };
        let pushed = Execution {
            trigger: Some("Webhook".into()),
            ..ran("Failed", 20, 21)
        };
        let mut executions = vec![pushed];
        let ask = |executions: &[Execution], now| {
            verdict(&Evidence {
                failure: Some(&failure),
                now: at(now),
                ..delivery(&t, Some(&t), executions)
            })
        };
        let start = Verdict::Start(Cause::FailureMayPass);
        assert_eq!(ask(&executions, 30), Verdict::Wait(at(81)));
        assert_eq!(ask(&executions, 81), start);
        executions.insert(0, ran("Failed", 81, 82));
        assert_eq!(ask(&executions, 83), Verdict::Wait(at(82 + 300)));
        executions.insert(0, ran("Failed", 400, 401));
        assert_eq!(ask(&executions, 402), Verdict::Wait(at(401 + 900)));
        executions.insert(0, ran("Succeeded", 2000, 2001));
        assert_eq!(ask(&executions, 2002), Verdict::Nothing);
    }

    #[test]
    fn starts_of_our_own_are_counted_by_commit_and_by_day() {
        let start = |n: i64, second: i64, commit: &str| StartStatus {
            at: at(second),
            token: format!("t{n}"),
            commit: Some(commit.to_owned()),
            spec_generation: Some(1),
        };
        let mut starts = Vec::new();
        for n in 0..3 {
            starts = count_start(&starts, start(n, n, "a")).unwrap();
        }
        // The same start tried again counts once, also when it was the last one.
        assert_eq!(count_start(&starts, start(2, 9, "a")).unwrap(), starts);
        let fourth = start(3, 10, "a");
        assert_eq!(count_start(&starts, fourth.clone()), Err(Exhausted::Commit));
        let changed = StartStatus {
            spec_generation: Some(2),
            ..fourth.clone()
        };
        assert!(count_start(&starts, changed).is_ok());
        for n in 3..10 {
            starts = count_start(&starts, start(n, n, &format!("c{n}"))).unwrap();
        }
        let day = 24 * 3600;
        let eleventh = |second| count_start(&starts, start(10, second, "z"));
        assert_eq!(eleventh(11), Err(Exhausted::Day(at(day))));
        let next = eleventh(day).unwrap();
        assert_eq!(next.len(), 10, "the oldest is forgotten");
        // A commit has had its starts however long ago that was.
        let later = |commit| start(11, 9 * day, commit);
        assert_eq!(count_start(&starts, later("a")), Err(Exhausted::Commit));
        assert_eq!(count_start(&starts, later("z")).unwrap().len(), 1);
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
            Cause::FailureMayPass,
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
