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
use crate::resource::desired::{ConnectionUse, Desired};
use crate::resource::observed::Observed;
use crate::resource::plan::{Action, Facts, Plan, Step, adopt, plan};

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
    async fn write_ahead(&mut self, steps: &[Step], desired: &Desired) -> Result<String, Stop>;
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
        let mut desired = desire(observed.connection.as_ref().map(|c| c.arn.as_str()));
        adopt(&mut desired, observed, facts.adopt);
        let plan = plan(&desired, observed, facts);
        ledger.planned(&plan, &desired, observed).await;
        if !plan.refusals.is_empty() {
            return Err(Stop::Refused(plan.refusals));
        }
        if plan.steps.is_empty() {
            break;
        }
        if facts.read_only {
            let steps: Vec<String> = plan.steps.iter().map(Step::to_string).collect();
            return Err(read_only(&steps.join("; ")));
        }
        let intent = ledger.write_ahead(&plan.steps, &desired).await?;
        for step in &plan.steps {
            info!(resource = step.resource.as_str(), action = ?step.action, "step");
            let context = apply::Context {
                intent: &intent,
                now,
                former_topics: facts.former_topics,
            };
            let result = apply(cloud, &desired, observed, step, context).await;
            ledger.wrote(step, &result, &desired, observed).await?;
            result?;
        }
    }
    Ok(())
}

/// What a read-only operator says in place of what it would do.
pub fn read_only(would: &str) -> Stop {
    let message = format!("the operator runs with --read-only, and would {would}");
    Refusal::new(Reason::ReadOnly, message).into()
}

/// The word to be given before a connection is created; none where none is.
pub fn intent(
    steps: &[Step],
    desired: &Desired,
    given: Option<&ConnectionIntent>,
    uid: &str,
    now: Timestamp,
) -> Result<Option<ConnectionIntent>, Stop> {
    let creates = steps
        .iter()
        .any(|s| s.resource == Resource::Connection && s.action == Action::Create);
    if !creates || !matches!(desired.connection, Some(ConnectionUse::Own(_))) {
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
