//! The conclusion of a pass, shared by fan-outs and classes: it writes the status, updates the
//! memory, and decides when the object is due again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_controller::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::object::HasStatus;
use kube::runtime::controller::Action as Requeue;

use crate::api::condition::{ConditionType, Reason};
use crate::api::status::RepoFanoutStatus;
use crate::api::{RECONCILE_REQUESTED_AT, RELEASE_REQUESTED_AT, RepoFanout, STOP_REQUESTED_AT};
use crate::cloud::{Class, Error};
use crate::domain::refusal::Refusal;
use crate::state::catalog::ClassKey;
use crate::state::environment::{Environment, Pace};
use crate::state::live_object::{Custom, LiveObject};
use crate::state::memory::{Basis, Settled};
use crate::state::stop::Stop;
use crate::status;
use crate::status::Progress;

/// Update of the memory that the next pass builds on.
pub(crate) enum Remembered {
    /// Everything was observed. Without a result, everything has to be observed again.
    Observed(Option<Settled>),
    /// The last result still holds, judging by lists and executions.
    Confirmed(Settled),
    /// The memory stays unchanged.
    Unchanged,
}

/// What the conclusion needs from the report of a pass.
pub(crate) trait Conclude {
    /// Kind of the object.
    type Kind: Custom;

    /// Returns whether AWS was observed, and was brought to what is desired or lacked nothing.
    fn observed(&self) -> bool;
    /// Returns whether everything was observed.
    fn is_full(&self) -> bool;
    /// Returns whether the pass ran to its end.
    fn is_complete(&self) -> bool;
    /// Returns what is still outstanding although nothing failed.
    fn pending(&self) -> Option<(Reason, String)>;
    /// Returns what AWS cannot do of what the spec asks for, although all else is done.
    fn exception(&self) -> Option<String> {
        None
    }
    /// Returns when the pass began.
    fn now(&self) -> Timestamp;
    /// Returns the key of the class that the pass used.
    fn class(&self) -> Option<ClassKey>;
    /// Translates an error into progress, in words that the object's readers may see.
    fn progress(&self, live: &LiveObject<'_, Self::Kind>, error: &Error) -> Progress;
    /// Returns how often everything is observed.
    fn interval(&self, live: &LiveObject<'_, Self::Kind>) -> Duration;
    /// Returns when to observe again after a pass that was not stopped.
    fn next(&self, env: &Environment, live: &LiveObject<'_, Self::Kind>) -> Duration;
    /// Returns when the permissions were last written. An operation that waits too long for them is
    /// refused.
    fn permissions_written_at(
        &self,
        live: &LiveObject<'_, Self::Kind>,
    ) -> Option<Option<Timestamp>>;
    /// Returns the next status.
    fn status(
        &self,
        live: &LiveObject<'_, Self::Kind>,
        progress: Progress,
    ) -> <Self::Kind as HasStatus>::Status;
    /// Returns how to update the memory.
    fn remembered(&self, progress: &Progress) -> Remembered;
    /// Completes the pass after its status is written, and returns when the object is due.
    fn written(
        &self,
        env: &Environment,
        live: &LiveObject<'_, Self::Kind>,
        concluded: bool,
        due: Duration,
    ) -> Due;
}

/// When an object is due again.
pub(crate) struct Due {
    /// The inputs other than AWS, to be compared at the next pass.
    pub basis: Basis,
    /// Time until AWS has to be observed.
    pub observe: Duration,
    /// Time until the object is reconciled, whether for AWS or for another reason.
    pub requeue: Duration,
}

/// Writes the status and schedules the next pass.
///
/// # Errors
/// Returns the API server's error if it rejected the status or an earlier write.
pub(crate) async fn conclude<R: Conclude>(
    env: &Environment,
    mut live: LiveObject<'_, R::Kind>,
    report: R,
    stop: Option<Stop>,
) -> Result<Requeue, kube::Error> {
    let (uid, class) = (live.uid(), report.class());
    if !matches!(stop, Some(Stop::Cloud(_) | Stop::Kube(_))) {
        env.memory.looked(&uid);
    }
    let (progress, delay) = match stop {
        Some(Stop::Kube(error)) => {
            env.memory.observed(&uid, None, class);
            return Err(error);
        }
        Some(Stop::Wait(reason, message, delay)) => (Progress::Waiting(reason, message), delay),
        Some(Stop::Refused(refusals)) => (Progress::Refused(refusals), report.interval(&live)),
        Some(Stop::Cloud(error)) => stopped_by_cloud(env, &live, &report, &error),
        None => {
            let progress = match report.pending() {
                _ if !report.is_full() => Progress::Unchanged,
                Some((reason, message)) => Progress::Waiting(reason, message),
                None => report
                    .exception()
                    .map_or(Progress::Settled, Progress::SettledBut),
            };
            (progress, report.next(env, &live))
        }
    };
    live.count(progress.result());
    let concluded = report.is_complete() || matches!(progress, Progress::Refused(_));
    let remembered = report.remembered(&progress);
    let next = report.status(&live, progress);
    if matches!(remembered, Remembered::Observed(_)) {
        // If the status cannot be written, the next observation is a full one.
        env.memory.observed(&uid, None, class);
    }
    live.set_status(next).await?;
    match remembered {
        Remembered::Observed(settled) => env.memory.observed(&uid, settled, class),
        Remembered::Confirmed(settled) => env.memory.confirmed(&uid, settled, class),
        Remembered::Unchanged => {}
    }
    let due = report.written(env, &live, concluded, delay);
    env.memory.concluded(&uid, due.basis, due.observe);
    Ok(Requeue::requeue(due.requeue))
}

fn stopped_by_cloud<R: Conclude>(
    env: &Environment,
    live: &LiveObject<'_, R::Kind>,
    report: &R,
    error: &Error,
) -> (Progress, Duration) {
    error.log();
    let progress = report.progress(live, error);
    if let (Some(written), Progress::Waiting(_, message)) =
        (report.permissions_written_at(live), &progress)
        && let Some(advice) = status::overdue(error.class, written, report.now())
    {
        let refusal = Refusal::new(Reason::AccessDenied, format!("{message}; {advice}"));
        return (Progress::Refused(vec![refusal]), report.interval(live));
    }
    let uid = live.uid();
    let delay = env.memory.backoff(&uid, error.class);
    let temporary = error.class.is_passing() || error.class == Class::UnknownPrincipal;
    // A pass that a later phase stopped has looked at AWS.
    if !temporary || report.observed() {
        env.memory.looked(&uid);
    }
    let since = env.memory.failing_since(&uid, report.now());
    let progress = match progress {
        Progress::Waiting(_, message)
            if temporary && since + tolerated(error, report.interval(live)) <= report.now() =>
        {
            status::not_observed(&message, since)
        }
        // A short failure leaves the status as it is.
        Progress::Waiting(..) if temporary && live.is_ready() => Progress::Unchanged,
        progress => progress,
    };
    (progress, delay)
}

/// Returns how long failures that may pass do not count on an object that was Ready. Credentials
/// that are missing seldom come back by themselves, so they count earlier.
fn tolerated(error: &Error, interval: Duration) -> Duration {
    match error.lacks_credentials() {
        true => interval / 2,
        false => interval * 3,
    }
}

/// Returns when to observe a connection that waits for a person: often at first, and less often the
/// longer nobody authorizes it.
pub(crate) fn pending_delay(pace: Pace, conditions: &[Condition], now: Timestamp) -> Duration {
    let type_ = ConditionType::ConnectionAvailable.as_str();
    let age = conditions::find(conditions, type_).map_or(Duration::ZERO, |c| {
        Duration::try_from(now.duration_since(c.last_transition_time.0)).unwrap_or_default()
    });
    (age / 20).clamp(pace.close, pace.idle.max(pace.close) * 5)
}

/// Echoes the requesting annotations on status. A value that is present at creation, or while the
/// echo is lost, counts as handled. So does a release while there is no pipeline, because the
/// creation of the pipeline starts an execution anyway.
pub(crate) fn echo_requests(
    live: &LiveObject<'_, RepoFanout>,
    status: &mut RepoFanoutStatus,
    complete: bool,
    full: bool,
) {
    // Nothing is written for an annotation that was never used.
    let stop = live.requested(STOP_REQUESTED_AT);
    if (status.last_handled_release_at.is_none() || complete)
        && (!stop.is_empty() || status.last_handled_stop_at.is_some())
    {
        status.last_handled_stop_at = Some(stop);
    }
    if status.last_handled_release_at.is_none() || complete {
        status.last_handled_release_at = Some(live.requested(RELEASE_REQUESTED_AT));
    }
    if status.last_handled_reconcile_at.is_none() || (complete && full) {
        status.last_handled_reconcile_at = Some(live.requested(RECONCILE_REQUESTED_AT));
    }
}
