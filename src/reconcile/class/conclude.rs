//! Concludes a pass over a class: its status, its memory, and when it is due.

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action as Requeue;

use crate::api::RepoFanoutClass;
use crate::api::class::RepoFanoutClassStatus;
use crate::api::condition::Reason;
use crate::api::status::ConnectionStatus;
use crate::cloud::Error;
use crate::cloud::advice::{Activity, Parties};
use crate::reconcile::class::count::{EVERY, users};
use crate::reconcile::class::report::{Connections, Report};
use crate::reconcile::class::retire;
use crate::reconcile::conclude;
use crate::reconcile::conclude::{Conclude, Due, Remembered, pending_delay};
use crate::resource::connection::ConnectionState;
use crate::spec::class;
use crate::spec::interval;
use crate::state::catalog::ClassKey;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::memory::Settled;
use crate::state::stop::Stop;
use crate::status;
use crate::status::{ClassObservation, PassOutcome, Progress};

/// Interval of a class whose spec is invalid.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);

/// Writes the status of a pass and schedules the next pass.
///
/// # Errors
/// Returns the API server's error if it rejected a write.
pub(crate) async fn run(
    env: &Environment,
    live: LiveObject<'_, RepoFanoutClass>,
    report: Report,
    stop: Option<Stop>,
) -> Result<Requeue, kube::Error> {
    let users = users(env, &live);
    conclude::conclude(env, live, Conclusion { report, users }, stop).await
}

/// The report of a pass and the number of fan-outs.
struct Conclusion {
    report: Report,
    users: i32,
}

impl Conclusion {
    /// Returns the connections as they are now.
    fn connections(&self, live: &LiveObject<'_, RepoFanoutClass>) -> Connections {
        let Report {
            quick,
            connections,
            retired,
            ..
        } = &self.report;
        let found = quick.iter().chain(connections).flatten();
        let gone = retired.iter().flat_map(|r| &r.gone);
        merged(live.status().connections, found, gone)
    }
}

/// Merges the recorded connections with those that were found, without those that are gone. The
/// recorded intent of a connection that was not found is kept.
fn merged<'a>(
    mut recorded: Connections,
    found: impl Iterator<Item = (&'a String, &'a ConnectionStatus)>,
    gone: impl Iterator<Item = &'a String>,
) -> Connections {
    recorded.extend(found.map(|(name, connection)| (name.clone(), connection.clone())));
    gone.for_each(|name| drop(recorded.remove(name)));
    recorded
}

impl Conclude for Conclusion {
    type Kind = RepoFanoutClass;

    fn observed(&self) -> bool {
        self.report.full || self.report.quick.is_some()
    }

    fn is_full(&self) -> bool {
        self.report.full
    }

    fn is_complete(&self) -> bool {
        self.report.complete
    }

    fn pending(&self) -> Option<(Reason, String)> {
        self.report.retired.as_ref().and_then(|r| r.pending.clone())
    }

    fn now(&self) -> Timestamp {
        self.report.now
    }

    fn class(&self) -> Option<ClassKey> {
        None
    }

    fn progress(&self, live: &LiveObject<'_, RepoFanoutClass>, error: &Error) -> Progress {
        let place = self.report.target.as_ref().map(|t| &t.class.place);
        let parties = Parties::new(class::access(&live.current).as_ref(), live.operator());
        let situation = parties.situation_of_class(Activity::Converge, place);
        status::progress(error, &situation)
    }

    fn interval(&self, live: &LiveObject<'_, RepoFanoutClass>) -> Duration {
        interval::interval(live.current.spec.interval.as_deref()).unwrap_or(DEFAULT_INTERVAL)
    }

    /// Connections that wait for a person are observed often at first, and less often the longer
    /// they wait.
    fn next(&self, env: &Environment, live: &LiveObject<'_, RepoFanoutClass>) -> Duration {
        let available = Some(ConnectionState::Available.as_str());
        let waits = self
            .connections(live)
            .values()
            .any(|c| c.status.as_deref() != available);
        let usual = match waits {
            true => pending_delay(env.pace, &live.status().conditions, self.report.now),
            false => env.pace.idle,
        };
        let wait = self.report.retired.as_ref().and_then(|r| r.wait);
        wait.map_or(usual, |wait| wait.min(usual))
            .min(self.interval(live))
    }

    fn permissions_written_at(
        &self,
        _: &LiveObject<'_, RepoFanoutClass>,
    ) -> Option<Option<Timestamp>> {
        None
    }

    fn status(
        &self,
        live: &LiveObject<'_, RepoFanoutClass>,
        progress: Progress,
    ) -> RepoFanoutClassStatus {
        let Report {
            target,
            shares,
            retired,
            quotas,
            full,
            complete,
            ..
        } = &self.report;
        let generation = live.current.metadata.generation;
        let mut next = live.status();
        next.connections = self.connections(live);
        if let Some(target) = target {
            next.placement = Some(target.class.place.status());
            let orphaned = shares
                .as_ref()
                .map(|s| s.orphaned.clone())
                .unwrap_or_default();
            next.former = match retired {
                Some(retired) => retired.former.clone(),
                None => retire::former(live.status(), &target.class, &orphaned),
            };
        }
        if let Some(shares) = shares {
            next.resources.clone_from(&shares.resources);
        }
        if *complete && *full {
            next.applied_generation = generation;
            next.destination_created_at = shares.as_ref().and_then(|s| s.destination_created_at);
        }
        next.fanouts = next.fanouts.or(Some(self.users));
        let concluded = *complete || matches!(progress, Progress::Refused(_));
        let outcome = PassOutcome {
            generation,
            concluded,
            progress,
        };
        status::class_status(
            &next,
            ClassObservation {
                outcome,
                quotas: quotas.clone(),
            },
        )
    }

    fn remembered(&self, _: &Progress) -> Remembered {
        match self.report.full {
            true => Remembered::Observed(self.report.complete.then(|| Settled::now(None))),
            false => Remembered::Unchanged,
        }
    }

    fn written(
        &self,
        env: &Environment,
        live: &LiveObject<'_, RepoFanoutClass>,
        _: bool,
        due: Duration,
    ) -> Due {
        let uid = live.uid();
        // An observation does not count the fan-outs, and must not delay a count that is due.
        let uncounted = env.memory.counts_again(&uid) || live.status().fanouts != Some(self.users);
        let count = uncounted.then(|| env.memory.counted_within(&uid, EVERY).unwrap_or_default());
        Due {
            basis: live.basis(),
            observe: due,
            requeue: count.unwrap_or(due).min(due),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::ConnectionIntent;

    #[test]
    fn an_intent_outlives_the_pass_in_which_another_connection_was_found() {
        let intent = ConnectionIntent {
            id: "i".into(),
            at: Timestamp::UNIX_EPOCH,
        };
        let lost = ConnectionStatus {
            intent: Some(intent),
            ..ConnectionStatus::default()
        };
        let found = ConnectionStatus {
            arn: Some("arn".into()),
            ..ConnectionStatus::default()
        };
        let of = |name: &str, c: &ConnectionStatus| Connections::from([(name.into(), c.clone())]);
        let mut recorded = of("lost", &lost);
        recorded.extend(of("gone", &found));
        let gone = ["gone".to_owned()];
        let now = merged(recorded, of("found", &found).iter(), gone.iter());
        assert_eq!(
            now.into_iter().collect::<Vec<_>>(),
            [("found".to_owned(), found), ("lost".to_owned(), lost)]
        );
    }
}
