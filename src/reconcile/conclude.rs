//! The end of a pass, the same for a fan-out and for a class: its status, what is remembered, and
//! when the object is due again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_controller::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::object::HasStatus;
use kube::runtime::controller::Action as Requeue;

use crate::api::condition::{ConditionType, Reason};
use crate::api::status::RepoFanoutStatus;
use crate::api::{RECONCILE_REQUESTED_AT, RELEASE_REQUESTED_AT, RepoFanout};
use crate::cloud::{Class, Error};
use crate::domain::refusal::Refusal;
use crate::state::catalog::ClassKey;
use crate::state::environment::{Environment, Pace};
use crate::state::live_object::{Custom, LiveObject};
use crate::state::memory::{Basis, Settled};
use crate::state::stop::Stop;
use crate::status;
use crate::status::Progress;

/// What the next pass may go by.
pub(crate) enum Remembered {
    /// Everything was observed: this was found, or has to be observed again.
    Observed(Option<Settled>),
    /// What was settled still is, as far as lists and executions tell.
    Confirmed(Settled),
    /// As before.
    Unchanged,
}

/// What a report has to say at the end of its pass.
pub(crate) trait Conclude {
    /// The kind of the object.
    type Kind: Custom;

    /// Whether everything was observed.
    fn is_full(&self) -> bool;
    /// Whether the pass came to its end.
    fn is_complete(&self) -> bool;
    /// What has still to happen although nothing failed.
    fn pending(&self) -> Option<(Reason, String)>;
    /// When the pass began.
    fn now(&self) -> Timestamp;
    /// What the pass rested on beside AWS.
    fn class(&self) -> Option<ClassKey>;
    /// What an error means for the object, in words that its readers may see.
    fn progress(&self, live: &LiveObject<'_, Self::Kind>, error: &Error) -> Progress;
    /// How often everything is observed.
    fn interval(&self, live: &LiveObject<'_, Self::Kind>) -> Duration;
    /// When to observe again after a pass that was not stopped.
    fn next(&self, env: &Environment, live: &LiveObject<'_, Self::Kind>) -> Duration;
    /// When the permissions were last written: what waits for them for too long is refused.
    fn permissions_written_at(
        &self,
        live: &LiveObject<'_, Self::Kind>,
    ) -> Option<Option<Timestamp>>;
    /// The next status.
    fn status(
        &self,
        live: &LiveObject<'_, Self::Kind>,
        progress: Progress,
    ) -> <Self::Kind as HasStatus>::Status;
    /// What is remembered until the status is written, and then.
    fn remembered(&self, progress: &Progress) -> Remembered;
    /// The last words, once the status is written. Answers when the object is due.
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
    /// What the next pass rests on beside AWS.
    pub basis: Basis,
    /// After this time there is something to observe.
    pub observe: Duration,
    /// After this time the object is looked into, be it for something else than AWS.
    pub requeue: Duration,
}

/// Writes the status, and says when the object is due again.
///
/// # Errors
/// The API server did not take the status, or a write before it.
pub(crate) async fn conclude<R: Conclude>(
    env: &Environment,
    mut live: LiveObject<'_, R::Kind>,
    report: R,
    stop: Option<Stop>,
) -> Result<Requeue, kube::Error> {
    let (uid, class) = (live.uid(), report.class());
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
                None => Progress::Settled,
            };
            (progress, report.next(env, &live))
        }
    };
    live.count(progress.result());
    let concluded = report.is_complete() || matches!(progress, Progress::Refused(_));
    let remembered = report.remembered(&progress);
    let next = report.status(&live, progress);
    if matches!(remembered, Remembered::Observed(_)) {
        // Until the status is written, the next observation is a full one.
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
    // A failure that passes, while nothing had to change, leaves the object as it was.
    let passes = matches!(error.class, Class::Transient | Class::Throttled);
    let progress = if passes && live.is_ready() {
        Progress::Unchanged
    } else {
        progress
    };
    (progress, env.memory.backoff(&live.uid(), error.class))
}

/// A connection that waits for a person is observed often at first, and more rarely the longer
/// nobody authorizes it.
pub(crate) fn pending_delay(pace: Pace, conditions: &[Condition], now: Timestamp) -> Duration {
    let type_ = ConditionType::ConnectionAvailable.as_str();
    let age = conditions::find(conditions, type_).map_or(Duration::ZERO, |c| {
        Duration::try_from(now.duration_since(c.last_transition_time.0)).unwrap_or_default()
    });
    (age / 20).clamp(pace.close, pace.idle.max(pace.close) * 5)
}

/// Echoes the annotations that ask for something. A value that stands at creation, or while the
/// echo is lost, counts as done. So does a release while there is no pipeline: its creation runs it
/// anyway.
pub(crate) fn echo_requests(
    live: &LiveObject<'_, RepoFanout>,
    status: &mut RepoFanoutStatus,
    complete: bool,
    full: bool,
) {
    if status.last_handled_release_at.is_none() || complete {
        status.last_handled_release_at = Some(live.requested(RELEASE_REQUESTED_AT));
    }
    if status.last_handled_reconcile_at.is_none() || (complete && full) {
        status.last_handled_reconcile_at = Some(live.requested(RECONCILE_REQUESTED_AT));
    }
}
