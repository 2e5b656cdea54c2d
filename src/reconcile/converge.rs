//! Observe → plan → apply, again and again until the plan is empty: the same for a fan-out and for
//! a class.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use tracing::info;

use crate::api::condition::Reason;
use crate::api::status::ConnectionIntent;
use crate::cloud::{Class, Cloud, Error};
use crate::domain::kind::Resource;
use crate::domain::names;
use crate::domain::policy_document::Gone;
use crate::reconcile::apply;
use crate::reconcile::apply::apply;
use crate::resource::Desired;
use crate::resource::Observed;
use crate::resource::plan;
use crate::resource::plan::{Facts, Plan, Step};
use crate::state::environment::Pace;
use crate::state::live_object::{Custom, LiveObject};
use crate::state::recorder::Notice;
use crate::state::stop::Stop;

/// Number of plans within a pass: the connection's ARN makes the role possible, and the pipeline
/// the rule; the last one has to be empty.
const ROUNDS: usize = 5;
/// Time between two looks for something that AWS does not show yet.
pub(crate) const LOOK_AGAIN: Duration = Duration::from_secs(5);

/// What has to be on the object before and after what is written to AWS.
pub(crate) trait Ledger {
    /// A plan was made: records what is there, and says what is corrected or taken over.
    async fn planned(&mut self, plan: &Plan, desired: &Desired, observed: &Observed);
    /// Before the first write: the placement, the intent of a connection, the time of new
    /// permissions. Answers the intent's id.
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

/// What a plan means for the pass.
#[derive(Debug, PartialEq)]
enum Next {
    /// AWS is as desired.
    Done,
    /// The plan is to be applied.
    Apply,
    /// There were as many plans as a pass may make, and this one is not empty either.
    Exhausted(String),
}

impl Next {
    fn after(round: usize, plan: &Plan) -> Self {
        if plan.steps.is_empty() {
            Self::Done
        } else if round < ROUNDS {
            Self::Apply
        } else {
            Self::Exhausted(describe(&plan.steps))
        }
    }
}

fn describe(steps: &[Step]) -> String {
    steps
        .iter()
        .map(Step::to_string)
        .collect::<Vec<_>>()
        .join("; ")
}

/// Makes AWS what is desired, given the ARN of the connection in use.
///
/// # Errors
/// A refusal of the plan, an answer of AWS or the API server, or that the plan is not empty after
/// as many rounds as a pass may take.
pub(crate) async fn converge(
    cloud: &Cloud,
    desire: impl Fn(Option<&str>) -> Desired,
    observed: &mut Observed,
    facts: Facts<'_>,
    now: Timestamp,
    ledger: &mut impl Ledger,
) -> Result<(), Stop> {
    for round in 1.. {
        let desired = desire(observed.connection.as_ref().map(|c| c.arn.as_str()));
        let plan = plan::plan(&desired, observed, facts);
        ledger.planned(&plan, &desired, observed).await;
        let plan = plan::read_only(plan, &facts);
        if !plan.refusals.is_empty() {
            return Err(Stop::Refused(plan.refusals));
        }
        // Nothing is created either: a view that lacks what is there is not to be acted on.
        if !plan.unseen.is_empty() {
            return Err(Stop::Wait(
                Reason::Provisioning,
                not_shown(&plan.unseen),
                LOOK_AGAIN,
            ));
        }
        match Next::after(round, &plan) {
            Next::Done => break,
            Next::Apply => {}
            Next::Exhausted(steps) => {
                let message = format!(
                    "AWS is not as desired after {ROUNDS} rounds, and is observed again: {steps}"
                );
                return Err(Stop::Wait(
                    Reason::Provisioning,
                    message,
                    Duration::from_secs(10),
                ));
            }
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

/// What is said of resources that AWS does not show yet.
fn not_shown(unseen: &[Resource]) -> String {
    let names: Vec<String> = unseen.iter().map(ToString::to_string).collect();
    format!(
        "AWS does not show yet what the operator created a short while ago: {}; the operator looks \
         again, and creates nothing a second time",
        names.join(", ")
    )
}

/// The intent to be recorded before a connection is created; none where none is.
pub(crate) fn intent(
    steps: &[Step],
    given: Option<&ConnectionIntent>,
    uid: &str,
    pace: Pace,
    now: Timestamp,
) -> Result<Option<ConnectionIntent>, Stop> {
    let creates = steps
        .iter()
        .any(|s| s.resource() == Resource::Connection && s.creates());
    if !creates {
        return Ok(None);
    }
    if let Some(given) = given.filter(|given| pace.is_young(Some(given.at), now)) {
        let message = format!(
            "a connection may have been made at {}, and AWS does not list it yet; another one is \
             made if it does not appear",
            given.at
        );
        return Err(Stop::Wait(
            Reason::ConnectionUnconfirmed,
            message,
            LOOK_AGAIN,
        ));
    }
    // The pass may have taken long to come here, and a lost answer is waited for from now on.
    let now = Timestamp::now();
    Ok(Some(ConnectionIntent {
        id: names::token(&[uid, &now.to_string()]),
        at: now,
    }))
}

/// Publishes once per pass which principals a policy does not name any more, because AWS accepts no
/// policy that names them.
pub(crate) async fn publish_gone<K: Custom>(
    live: &LiveObject<'_, K>,
    observed: &Observed,
    announced: &mut BTreeSet<String>,
) {
    for Gone { sid, principal } in &observed.gone {
        let note = format!(
            "the statement '{sid}' of a policy that others share named {principal}, the id of a \
             role or user that was deleted; AWS takes no policy that names one, so it was taken \
             out of the statement"
        );
        if announced.insert(note.clone()) {
            live.notify(Notice::warning("PrincipalGone", note)).await;
        }
    }
}

/// Whether an intent can be taken back: only where AWS has surely made nothing.
pub(crate) fn surely_not_made(error: &Error) -> bool {
    error.class != Class::Transient && error.class != Class::Conflict
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_that_is_never_empty_is_an_error_and_not_applied() {
        let step = Step::CreateServiceLinkedRole;
        let never = Plan {
            steps: vec![step],
            ..Plan::default()
        };
        assert_eq!(Next::after(1, &Plan::default()), Next::Done);
        assert_eq!(Next::after(ROUNDS, &Plan::default()), Next::Done);
        assert!((1..ROUNDS).all(|round| Next::after(round, &never) == Next::Apply));
        assert_eq!(
            Next::after(ROUNDS, &never),
            Next::Exhausted("create service linked role".to_owned())
        );
    }
}
