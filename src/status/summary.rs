//! The conditions that summarize an object: `Ready`, and kstatus's `Reconciling` and `Stalled`.
//! They are the same for both kinds.

use k8s_controller::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::condition::{ConditionType, Kind, Outlook, Reason};
use crate::status::progress::Progress;
use crate::status::verdict::Verdict;

/// How a pass over an object ended.
#[derive(Clone, Debug, PartialEq)]
pub struct PassOutcome {
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Whether the pass handled this generation to its end.
    pub concluded: bool,
    /// The progress of the resources.
    pub progress: Progress,
}

impl PassOutcome {
    /// Sets a condition for each verdict, and then the conditions that summarize them. A condition
    /// without a verdict stays as it was.
    pub(crate) fn summarize(
        &self,
        kind: Kind,
        verdicts: impl IntoIterator<Item = Verdict>,
        conditions: &mut Vec<Condition>,
        observed_generation: &mut Option<i64>,
    ) {
        let refused = match &self.progress {
            Progress::Refused(_) => true,
            Progress::Unchanged => ConditionType::Stalled.find(conditions).is_some(),
            Progress::Settled | Progress::SettledBut(_) | Progress::Waiting(..) => false,
        };
        for verdict in verdicts {
            verdict.set(conditions, self.generation);
        }
        let ready = ready(kind, conditions, refused);
        ready.set(conditions, self.generation);
        kstatus(conditions, self.generation, &ready, refused);
        if self.concluded {
            *observed_generation = self.generation;
        }
    }
}

/// The verdict of the first condition, in the order of cause and effect, that is not well. A
/// refusal comes before everything else.
fn ready(kind: Kind, conditions: &[Condition], refused: bool) -> Verdict {
    let amiss = |type_: ConditionType| {
        let condition = type_.find(conditions)?;
        (condition.status != "True").then(|| Verdict::of(condition, ConditionType::Ready))
    };
    let refusal = Some(ConditionType::Provisioned).filter(|_| refused);
    let causes = ConditionType::of(kind).filter(|type_| type_.decides_ready());
    refusal
        .into_iter()
        .chain(causes)
        .find_map(amiss)
        .unwrap_or_else(|| well(kind, conditions))
}

/// The verdict of `Ready` if no other condition is amiss.
fn well(kind: Kind, conditions: &[Condition]) -> Verdict {
    match kind {
        Kind::Class => Verdict::new(
            ConditionType::Ready,
            Reason::Provisioned,
            "fan-outs may use what it shares",
        ),
        Kind::Fanout => match ConditionType::Delivered.find(conditions) {
            Some(delivered) => Verdict::of(delivered, ConditionType::Ready),
            None => not_yet_delivered("no execution has succeeded yet").on(ConditionType::Ready),
        },
    }
}

/// The verdict on a fan-out that has not delivered yet.
pub(crate) fn not_yet_delivered(message: &str) -> Verdict {
    Verdict::new(ConditionType::Delivered, Reason::NotYetDelivered, message)
}

/// Sets or removes `Reconciling` and `Stalled`. As kstatus demands, each exists only while it holds,
/// and never both do.
fn kstatus(
    conditions: &mut Vec<Condition>,
    generation: Option<i64>,
    ready: &Verdict,
    refused: bool,
) {
    let stalled = refused && !ready.is_well();
    let reconciling = !stalled
        && match ready.reason.outlook() {
            Outlook::Open | Outlook::Passing => true,
            Outlook::Well | Outlook::Final => false,
        };
    for (type_, holds) in [
        (ConditionType::Stalled, stalled),
        (ConditionType::Reconciling, reconciling),
    ] {
        if holds {
            ready.on(type_).set(conditions, generation);
        } else {
            conditions::remove(conditions, type_.as_str());
        }
    }
}

/// The conditions of an object that is being deleted.
pub fn deleting(
    conditions: &mut Vec<Condition>,
    generation: Option<i64>,
    reason: Reason,
    message: &str,
) {
    let ready = Verdict::new(ConditionType::Ready, reason, message);
    ready.set(conditions, generation);
    let blocked = reason.outlook() == Outlook::Final;
    kstatus(conditions, generation, &ready, blocked);
}
