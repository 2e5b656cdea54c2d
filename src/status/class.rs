//! The status of a class.

use std::collections::BTreeMap;

use crate::api::class::{QuotaStatus, RepoFanoutClassStatus};
use crate::api::condition::{ConditionType, Kind, Reason};
use crate::status::connection::{self, Remote};
use crate::status::summary::PassOutcome;
use crate::status::verdict::Verdict;

/// Share of a quota from which on a class warns, in percent.
const LOW: i32 = 80;

/// The results of one pass over a class.
#[derive(Clone, Debug)]
pub struct ClassObservation {
    /// How the pass ended.
    pub outcome: PassOutcome,
    /// Usage of the account's quotas, if the pass read it.
    pub quotas: Option<BTreeMap<String, QuotaStatus>>,
}

/// The status after a pass. Whatever the pass did not observe stays as it was.
pub fn class_status(
    before: &RepoFanoutClassStatus,
    observation: ClassObservation,
) -> RepoFanoutClassStatus {
    let ClassObservation { outcome, quotas } = observation;
    let mut next = before.clone();
    let verdicts = [
        connections_verdict(before),
        outcome.progress.verdict(),
        quotas.as_ref().map(quota_verdict),
    ];
    outcome.summarize(
        Kind::Class,
        verdicts.into_iter().flatten(),
        &mut next.conditions,
        &mut next.observed_generation,
    );
    next.quotas = quotas.unwrap_or(next.quotas);
    next
}

/// The verdict on all connections: that of the first one that does not work, if there is one.
fn connections_verdict(status: &RepoFanoutClassStatus) -> Option<Verdict> {
    let mut all_well = None;
    for (name, connection) in &status.connections {
        let Some(verdict) = connection::verdict(connection, Remote::default()) else {
            continue;
        };
        if !verdict.is_well() {
            let message = format!("connection '{name}': {}", verdict.message);
            return Some(Verdict { message, ..verdict });
        }
        let message = "a person has authorized every connection".to_owned();
        all_well = Some(Verdict { message, ..verdict });
    }
    all_well
}

fn quota_verdict(quotas: &BTreeMap<String, QuotaStatus>) -> Verdict {
    let low = |q: &QuotaStatus| q.used.saturating_mul(100) >= q.limit.saturating_mul(LOW);
    let text = |(name, q): (&String, &QuotaStatus)| {
        format!("{} of {} {}", q.used, q.limit, name.replace('_', " "))
    };
    let near: Vec<String> = quotas.iter().filter(|(_, q)| low(q)).map(text).collect();
    let (reason, message) = if near.is_empty() {
        let all: Vec<String> = quotas.iter().map(text).collect();
        (
            Reason::QuotaAvailable,
            format!("the account uses {}", all.join(", ")),
        )
    } else {
        (
            Reason::QuotaLow,
            format!(
                "the account uses {} that AWS allows by default, and new fan-outs will soon be \
                     refused; request a higher quota from AWS where that is possible, or serve new \
                     fan-outs by a class in another account",
                near.join(", ")
            ),
        )
    };
    Verdict::new(ConditionType::QuotaAvailable, reason, message)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::api::status::ConnectionStatus;
    use crate::domain::refusal::Refusal;
    use crate::status::notice::transitions;
    use crate::status::progress::Progress;

    fn quotas(used: i32) -> BTreeMap<String, QuotaStatus> {
        BTreeMap::from([("connections".to_owned(), QuotaStatus { used, limit: 250 })])
    }

    fn with(connections: &[(&str, &str)]) -> RepoFanoutClassStatus {
        let recorded = |(name, state): &(&str, &str)| {
            let connection = ConnectionStatus {
                status: Some((*state).to_owned()),
                authorize_url: Some(format!("https://console/{name}")),
                ..ConnectionStatus::default()
            };
            ((*name).to_owned(), connection)
        };
        RepoFanoutClassStatus {
            connections: connections.iter().map(recorded).collect(),
            ..RepoFanoutClassStatus::default()
        }
    }

    fn after(before: &RepoFanoutClassStatus, progress: Progress) -> RepoFanoutClassStatus {
        let outcome = PassOutcome {
            generation: Some(1),
            concluded: true,
            progress,
        };
        let quotas = Some(quotas(1));
        class_status(before, ClassObservation { outcome, quotas })
    }

    fn refused() -> Progress {
        Progress::Refused(vec![Refusal::new(Reason::NotAllowed, "no")])
    }

    fn waiting() -> Progress {
        Progress::Waiting(Reason::Throttled, "later".to_owned())
    }

    /// `Ready`, `Reconciling` and `Stalled`, each with its status and reason.
    fn summary(status: &RepoFanoutClassStatus) -> String {
        let says = |type_: ConditionType| match type_.find(&status.conditions) {
            Some(c) => format!("{}/{}", c.status, c.reason),
            None => "-".to_owned(),
        };
        let types = [
            ConditionType::Ready,
            ConditionType::Reconciling,
            ConditionType::Stalled,
        ];
        types.map(says).join(" ")
    }

    #[test]
    fn each_state_has_its_summary() {
        let none = with(&[]);
        let well = with(&[("a", "AVAILABLE"), ("b", "AVAILABLE")]);
        let pending = with(&[("a", "AVAILABLE"), ("b", "PENDING")]);
        for (before, progress, expected) in [
            (&none, Progress::Settled, "True/Provisioned - -"),
            (&well, Progress::Settled, "True/Provisioned - -"),
            (&well, waiting(), "False/Throttled True/Throttled -"),
            (&well, refused(), "False/NotAllowed - True/NotAllowed"),
            (
                &pending,
                Progress::Settled,
                "False/ConnectionPending True/ConnectionPending -",
            ),
            (
                &pending,
                waiting(),
                "False/ConnectionPending True/ConnectionPending -",
            ),
            (&pending, refused(), "False/NotAllowed - True/NotAllowed"),
            (
                &after(&well, refused()),
                Progress::Unchanged,
                "False/NotAllowed - True/NotAllowed",
            ),
            (
                &after(&well, waiting()),
                Progress::Unchanged,
                "False/Throttled True/Throttled -",
            ),
        ] {
            let status = after(before, progress.clone());
            assert_eq!(summary(&status), expected, "{progress:?}");
            assert_eq!(status.observed_generation, Some(1));
        }
    }

    #[test]
    fn the_first_connection_that_does_not_work_speaks_for_all() {
        let status = after(&with(&[("a", "AVAILABLE"), ("b", "PENDING")]), waiting());
        let ready = ConditionType::Ready.find(&status.conditions).unwrap();
        let link = "connection 'b': authorize the connection once, as an owner of the \
                    organization: open https://console/b";
        assert!(ready.message.starts_with(link), "{}", ready.message);
    }

    #[test]
    fn a_quota_warns_before_it_ends() {
        assert_eq!(quota_verdict(&quotas(199)).reason, Reason::QuotaAvailable);
        let low = quota_verdict(&quotas(200));
        assert_eq!(low.reason, Reason::QuotaLow);
        assert!(
            low.message.contains("200 of 250 connections"),
            "{}",
            low.message
        );
    }

    proptest! {
        #[test]
        fn every_status_is_consistent(
            passes in proptest::collection::vec((0usize..4, 0usize..3), 1..6),
        ) {
            let mut status = with(&[]);
            for (progress, state) in passes {
                let states = ["AVAILABLE", "PENDING", "ERROR"];
                status.connections = with(&[("a", states[state])]).connections;
                let progresses = [Progress::Settled, Progress::Unchanged, waiting(), refused()];
                let progress = progresses[progress].clone();
                let next = after(&status, progress.clone());
                let find = |type_: ConditionType| type_.find(&next.conditions);
                let ready = find(ConditionType::Ready).unwrap();
                let stalled = find(ConditionType::Stalled).is_some();
                let reconciling = find(ConditionType::Reconciling).is_some();
                // An object is ready, reconciling or stalled, and exactly one of the three.
                let states = [ready.status == "True", stalled, reconciling];
                prop_assert_eq!(states.into_iter().filter(|holds| *holds).count(), 1);
                prop_assert_eq!(&after(&next, progress), &next);
                prop_assert_eq!(transitions(&next.conditions, &next.conditions), vec![]);
                status = next;
            }
        }
    }
}
