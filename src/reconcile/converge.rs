//! Observe → plan → apply, again and again until the plan is empty: the same for a fan-out and for
//! a class.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use tracing::info;

use crate::api::condition::Reason;
use crate::api::status::ConnectionIntent;
use crate::cloud::{Class, Cloud, Error};
use crate::domain::kind::Resource;
use crate::domain::names;
use crate::domain::refusal::Refusal;
use crate::reconcile::apply;
use crate::reconcile::apply::apply;
use crate::resource::Desired;
use crate::resource::Observed;
use crate::resource::plan;
use crate::resource::plan::{Facts, Plan, Step};

/// How often a plan is made anew within a pass: the connection's ARN makes the role possible, and
/// the pipeline the rule.
const ROUNDS: usize = 4;
/// How long a connection that may have been made is looked for in the lists before another one is
/// made.
const SETTLE: SignedDuration = SignedDuration::from_secs(15);

/// Why a pass ended before its end.
pub enum Stop {
    /// The API server.
    Kube(kube::Error),
    /// The cloud.
    Cloud(Error),
    /// Something to wait for.
    Wait(Reason, String, Duration),
    /// Something for a person.
    Refused(Vec<Refusal>),
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Self::Kube(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Cloud(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(vec![refusal])
    }
}

/// What has to be on the object before and after what is written to AWS.
pub(crate) trait Ledger {
    /// A plan was made; it says so, where there is something to say.
    async fn planned(&mut self, plan: &Plan, desired: &Desired, observed: &Observed);
    /// Before the first write: the placement, the word on a connection, the time of new
    /// permissions. Answers that word.
    async fn write_ahead(&mut self, steps: &[Step]) -> Result<String, Stop>;
    /// After each write, whatever came of it.
    async fn wrote(
        &mut self,
        step: &Step,
        result: &Result<(), Error>,
        desired: &Desired,
        observed: &Observed,
    ) -> Result<(), Stop>;
}

/// Makes AWS what is desired, given the ARN of the connection in use.
pub(crate) async fn converge(
    cloud: &Cloud,
    desire: impl Fn(Option<&str>) -> Desired,
    observed: &mut Observed,
    facts: Facts<'_>,
    now: Timestamp,
    ledger: &mut impl Ledger,
) -> Result<(), Stop> {
    for _ in 0..ROUNDS {
        let desired = desire(observed.connection.as_ref().map(|c| c.arn.as_str()));
        let plan = plan::plan(&desired, observed, facts);
        ledger.planned(&plan, &desired, observed).await;
        let plan = plan::read_only(plan, &facts);
        if !plan.refusals.is_empty() {
            return Err(Stop::Refused(plan.refusals));
        }
        if plan.steps.is_empty() {
            break;
        }
        let intent = ledger.write_ahead(&plan.steps).await?;
        for step in &plan.steps {
            info!(resource = step.resource().as_str(), action = %step, "step");
            let context = apply::Context {
                intent: &intent,
                now,
            };
            let result = apply(cloud, observed, step, context).await;
            ledger.wrote(step, &result, &desired, observed).await?;
            result?;
        }
    }
    Ok(())
}

/// What a read-only operator says in place of what it would do.
pub fn read_only(would: &str) -> Stop {
    plan::not_written(would).into()
}

/// The word to be given before a connection is created; none where none is.
pub fn intent(
    steps: &[Step],
    given: Option<&ConnectionIntent>,
    uid: &str,
    now: Timestamp,
) -> Result<Option<ConnectionIntent>, Stop> {
    let creates = steps
        .iter()
        .any(|s| s.resource() == Resource::Connection && s.creates());
    if !creates {
        return Ok(None);
    }
    if let Some(given) = given
        && now < given.at + SETTLE
    {
        let rest = (given.at + SETTLE).duration_since(now);
        return Err(Stop::Wait(
            Reason::ConnectionUnconfirmed,
            format!(
                "a connection may have been made at {}, and AWS does not list it yet; another one \
                     is made if it does not appear",
                given.at
            ),
            Duration::try_from(rest).unwrap_or_default(),
        ));
    }
    Ok(Some(ConnectionIntent {
        id: names::token(&[uid, &now.to_string()]),
        at: now,
    }))
}

/// Whether the word can be taken back: only where AWS has surely made nothing.
pub fn surely_not_made(error: &Error) -> bool {
    error.class != Class::Transient && error.class != Class::Conflict
}
