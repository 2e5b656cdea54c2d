//! The status of a class.

use std::collections::BTreeMap;

use k8s_controller::conditions::ConditionStatus;

use crate::api::class::{QuotaStatus, RepoFanoutClassStatus};
use crate::api::condition::{ConditionType, Reason};
use crate::status::{
    Progress, Verdict, connection_verdict, find, kstatus, provisioned_verdict, reason, set,
};

/// From which part of a quota on a class warns, in percent.
const LOW: i32 = 80;

/// What one pass over a class saw.
#[derive(Clone, Debug)]
pub struct ClassLook {
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Whether the pass came to a conclusion about this generation.
    pub concluded: bool,
    /// How far the resources are.
    pub progress: Progress,
    /// How much of the quotas is used, if that was asked.
    pub quotas: Option<BTreeMap<String, QuotaStatus>>,
}

/// The status after a pass; what the pass did not look at stays as it was.
pub fn class_status(before: &RepoFanoutClassStatus, look: ClassLook) -> RepoFanoutClassStatus {
    let mut next = before.clone();
    let generation = look.generation;
    let all = &mut next.conditions;
    if let Some(Verdict(state, reason, message)) = connections_verdict(before) {
        set(
            all,
            generation,
            ConditionType::ConnectionAvailable,
            state,
            reason,
            &message,
        );
    }
    if let Some(Verdict(state, reason, message)) = provisioned_verdict(&look.progress) {
        set(
            all,
            generation,
            ConditionType::Provisioned,
            state,
            reason,
            &message,
        );
    }
    if let Some(quotas) = look.quotas {
        let Verdict(state, reason, message) = quota_verdict(&quotas);
        set(
            all,
            generation,
            ConditionType::QuotaAvailable,
            state,
            reason,
            &message,
        );
        next.quotas = quotas;
    }
    let all = &mut next.conditions;
    let refused = matches!(look.progress, Progress::Refused(_))
        || (look.progress == Progress::Unchanged && find(all, ConditionType::Stalled).is_some());
    let Verdict(state, reason, message) = ready_verdict(&next, refused);
    let ready = state == ConditionStatus::True;
    let all = &mut next.conditions;
    set(
        all,
        generation,
        ConditionType::Ready,
        state,
        reason,
        &message,
    );
    kstatus(
        all,
        generation,
        (refused, !refused && !ready),
        reason,
        &message,
    );
    if look.concluded {
        next.observed_generation = generation;
    }
    next
}

/// The first connection that does not work speaks for all.
fn connections_verdict(status: &RepoFanoutClassStatus) -> Option<Verdict> {
    let each = status
        .connections
        .iter()
        .filter_map(|(name, c)| Some((name, connection_verdict(c)?)));
    let all: Vec<_> = each.collect();
    let waiting = all.iter().find(|(_, v)| v.0 != ConditionStatus::True);
    match waiting {
        Some((name, Verdict(state, reason, message))) => Some(Verdict(
            *state,
            *reason,
            format!("connection '{name}': {message}"),
        )),
        None if all.is_empty() => None,
        None => Some(Verdict(
            ConditionStatus::True,
            Reason::ConnectionAvailable,
            "a person has authorized every connection".to_owned(),
        )),
    }
}

fn quota_verdict(quotas: &BTreeMap<String, QuotaStatus>) -> Verdict {
    let low = |q: &QuotaStatus| q.used.saturating_mul(100) >= q.limit.saturating_mul(LOW);
    let text = |(name, q): (&String, &QuotaStatus)| {
        format!("{} of {} {}", q.used, q.limit, name.replace('_', " "))
    };
    let near: Vec<String> = quotas.iter().filter(|(_, q)| low(q)).map(text).collect();
    if near.is_empty() {
        let all: Vec<String> = quotas.iter().map(text).collect();
        return Verdict(
            ConditionStatus::True,
            Reason::QuotaAvailable,
            format!("the account uses {}", all.join(", ")),
        );
    }
    Verdict(
        ConditionStatus::False,
        Reason::QuotaLow,
        format!(
            "the account uses {} that AWS allows by default: have the quota raised where it can \
                 be, or serve new fan-outs by a class in another account",
            near.join(", ")
        ),
    )
}

fn ready_verdict(status: &RepoFanoutClassStatus, refused: bool) -> Verdict {
    let blocking = |type_| find(&status.conditions, type_).filter(|c| c.status != "True");
    let provisioned = blocking(ConditionType::Provisioned);
    let first = provisioned
        .filter(|_| refused)
        .or_else(|| blocking(ConditionType::ConnectionAvailable))
        .or(provisioned);
    match first {
        Some(c) => Verdict(ConditionStatus::False, reason(&c.reason), c.message.clone()),
        None => Verdict(
            ConditionStatus::True,
            Reason::Provisioned,
            "fan-outs may use what it shares".to_owned(),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quota_warns_before_it_ends() {
        let quotas =
            |used| BTreeMap::from([("connections".to_owned(), QuotaStatus { used, limit: 250 })]);
        assert_eq!(quota_verdict(&quotas(199)).1, Reason::QuotaAvailable);
        let low = quota_verdict(&quotas(200));
        assert_eq!(low.1, Reason::QuotaLow);
        assert!(low.2.contains("200 of 250 connections"), "{}", low.2);
    }
}
