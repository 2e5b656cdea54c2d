//! Concludes a pass over a fan-out: its status, its memory, and when it is due.

use std::time::Duration;

use jiff::Timestamp;
use kube::runtime::controller::Action as Requeue;

use crate::api::RepoFanout;
use crate::api::condition::Reason;
use crate::api::status::RepoFanoutStatus;
use crate::cloud::Error;
use crate::cloud::advice::{Activity, Parties, Situation};
use crate::domain::execution::Execution;
use crate::domain::kind::Resource;
use crate::domain::placement::Placement;
use crate::feature::Outcome;
use crate::reconcile::conclude;
use crate::reconcile::conclude::{Conclude, Due, Remembered, echo_requests, pending_delay};
use crate::reconcile::fanout::quick::{is_unfinished, poll_every, round};
use crate::reconcile::fanout::report::Report;
use crate::reconcile::fanout::retire;
use crate::reconcile::schedule::Schedule;
use crate::resource::connection::ConnectionState;
use crate::spec::interval;
use crate::state::catalog::ClassKey;
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::memory::{Basis, Settled, SettledPipeline};
use crate::state::stop::Stop;
use crate::state::target::Inputs;
use crate::status;
use crate::status::{FeatureOutcome, Features, Observation, PassOutcome, Progress};

/// Interval of an object whose spec is invalid.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(600);

/// Writes the status of a pass and schedules the next pass.
///
/// # Errors
/// Returns the API server's error if it rejected a write.
pub(crate) async fn run(
    env: &Environment,
    live: LiveObject<'_, RepoFanout>,
    inputs: Inputs,
    report: Report,
    stop: Option<Stop>,
) -> Result<Requeue, kube::Error> {
    let conclusion = Conclusion { inputs, report };
    if conclusion.is_first_delivery(&live) {
        let created = live.current.metadata.creation_timestamp.as_ref();
        let age = conclusion
            .now()
            .duration_since(created.map_or(conclusion.now(), |t| t.0));
        env.metrics
            .became_ready(Duration::try_from(age).unwrap_or_default());
    }
    conclude::conclude(env, live, conclusion, stop).await
}

/// Writes that the object is suspended, and waits for a change.
pub(crate) async fn suspend(
    env: &Environment,
    mut live: LiveObject<'_, RepoFanout>,
    inputs: Inputs,
) -> Result<Requeue, kube::Error> {
    live.count("suspended");
    let next = status::suspended(&live.status(), live.current.metadata.generation);
    live.set_status(next).await?;
    env.memory.observed(&live.uid(), None, inputs.basis.class);
    env.acknowledge(&live.current, &inputs.receipts);
    Ok(Requeue::await_change())
}

/// The report and the inputs of a pass.
struct Conclusion {
    inputs: Inputs,
    report: Report,
}

impl Conclusion {
    fn schedule(&self) -> Schedule {
        let Report {
            converged,
            delivered,
            retired,
            ..
        } = &self.report;
        let mut schedule = Schedule::default();
        converged.iter().for_each(|c| schedule.include(c.schedule));
        delivered.iter().for_each(|d| schedule.include(d.schedule));
        retired.iter().for_each(|r| schedule.include(r.schedule));
        schedule
    }

    /// Returns the executions as last read.
    fn executions(&self) -> Option<&[Execution]> {
        let Report {
            converged,
            delivered,
            ..
        } = &self.report;
        match delivered {
            Some(delivered) => delivered.delivery.executions.as_deref(),
            None => converged.as_ref()?.executions.as_deref(),
        }
    }

    /// Returns the pipeline that the next quick observation compares with.
    fn pipeline(&self) -> Option<&SettledPipeline> {
        let Report {
            converged,
            delivered,
            ..
        } = &self.report;
        match delivered {
            Some(delivered) => delivered.pipeline.as_ref(),
            None => converged.as_ref()?.pipeline.as_ref(),
        }
    }

    /// Returns whether an execution is running, as far as this pass knows. A new pipeline is
    /// assumed to run one.
    fn is_running(&self, live: &LiveObject<'_, RepoFanout>) -> bool {
        match self.executions() {
            Some(all) => all.is_empty() || all.iter().any(|e| e.state.is_running()),
            None => self.pipeline().is_some() && is_unfinished(&live.status()),
        }
    }

    /// Returns whether the class observes the connection and wakes the fan-out when it changes.
    fn shares_connection(&self, live: &LiveObject<'_, RepoFanout>) -> bool {
        let own = live
            .status()
            .resources
            .contains_key(Resource::Connection.as_str());
        self.inputs.class.is_some() && !own
    }

    /// Returns whether this pass is the first one that knows of a delivery.
    fn is_first_delivery(&self, live: &LiveObject<'_, RepoFanout>) -> bool {
        let delivered = self.report.delivered.as_ref();
        let known = delivered.is_some_and(|d| d.delivery.delivered.is_some());
        live.status().delivered.is_none() && known
    }

    /// Returns the parties of calls for the object, with every ARN that its messages may name.
    fn parties(&self, live: &LiveObject<'_, RepoFanout>) -> Parties {
        let Report {
            target, converged, ..
        } = &self.report;
        let placed = target.as_ref().filter(|t| t.placed);
        let mut parties = match placed {
            Some(target) => target.parties(live.operator()),
            None => Parties::new(None, live.operator()),
        };
        let own = &mut parties.arns;
        own.extend(live.status().resources.into_values());
        let made = converged.iter().filter_map(|c| c.resources.as_ref());
        own.extend(made.flat_map(|resources| resources.values().cloned()));
        let class = self
            .inputs
            .class
            .as_ref()
            .and_then(|class| class.status.as_ref());
        own.extend(
            class
                .iter()
                .flat_map(|status| status.resources.values().cloned()),
        );
        parties
    }

    /// Returns the placement of the object's resources, once they may be placed there.
    fn place(&self) -> Option<&Placement> {
        let target = self.report.target.as_ref();
        Some(&target.filter(|t| t.placed)?.place)
    }

    /// Returns the role of the object's pipeline.
    fn role(&self) -> &str {
        self.report.target.as_ref().map_or("", |target| {
            let shared = target.fanout.shared_role.as_ref();
            shared.unwrap_or(&target.names.role_arn)
        })
    }

    fn is_refused(progress: &Progress) -> bool {
        matches!(progress, Progress::Refused(_))
    }
}

impl Conclude for Conclusion {
    type Kind = RepoFanout;

    fn observed(&self) -> bool {
        self.report.delivered.is_some()
    }

    fn is_full(&self) -> bool {
        self.report.converged.as_ref().is_some_and(|c| c.is_full())
    }

    fn is_complete(&self) -> bool {
        self.report.complete
    }

    fn pending(&self) -> Option<(Reason, String)> {
        let Report {
            converged, retired, ..
        } = &self.report;
        let unreachable = || {
            let message = converged.as_ref()?.unreachable.clone()?;
            Some((Reason::TopicUnreachable, message))
        };
        let converged = converged.as_ref().and_then(|c| c.pending.clone());
        retired
            .as_ref()
            .and_then(|r| r.pending.clone())
            .or(converged)
            .or_else(unreachable)
    }

    fn exception(&self) -> Option<String> {
        let unknown = &self.report.converged.as_ref()?.unknown;
        let unknown: Vec<&str> = unknown.iter().map(String::as_str).collect();
        (!unknown.is_empty()).then(|| {
            format!(
                "AWS does not know {}, whom destination.readers names, so that nobody is let in by \
                 that; take them out of destination.readers, or make them, and they are let in at \
                 a full observation an hour from now or later",
                unknown.join(", ")
            )
        })
    }

    fn now(&self) -> Timestamp {
        self.inputs.now
    }

    fn class(&self) -> Option<ClassKey> {
        self.inputs.basis.class
    }

    fn progress(&self, live: &LiveObject<'_, RepoFanout>, error: &Error) -> Progress {
        let parties = self.parties(live);
        status::progress(error, &parties.situation(Activity::Converge, self.place()))
    }

    fn interval(&self, live: &LiveObject<'_, RepoFanout>) -> Duration {
        let interval = interval::interval(live.current.spec.interval.as_deref());
        interval.unwrap_or(DEFAULT_INTERVAL)
    }

    fn next(&self, env: &Environment, live: &LiveObject<'_, RepoFanout>) -> Duration {
        if self.is_first_delivery(live) {
            // If two claims are equally old, the one with a delivery has precedence. The next pass
            // renews the claim, which now has one.
            return Duration::ZERO;
        }
        let (pace, interval) = (env.pace, self.interval(live));
        let Report {
            target, converged, ..
        } = &self.report;
        let connection = converged.as_ref().and_then(|c| c.connection.as_ref());
        let available = connection.is_some_and(|c| c.state == ConnectionState::Available);
        let fed = self.inputs.basis.feed.is_some();
        let usual = match (self.is_running(live), available) {
            // An event reports the end of the execution, unless the event is lost.
            (true, _) if fed => pace.idle,
            (true, _) => pace.close,
            (false, true) if fed => target
                .as_ref()
                .map_or(interval, |t| round(env, t, &live.uid()).until),
            (false, true) => target.as_ref().map_or(pace.idle, |t| poll_every(env, t)),
            (false, false) if self.shares_connection(live) => interval,
            (false, false) => pending_delay(pace, &live.status().conditions, self.now()),
        };
        self.schedule().due(usual).min(interval)
    }

    fn permissions_written_at(
        &self,
        live: &LiveObject<'_, RepoFanout>,
    ) -> Option<Option<Timestamp>> {
        Some(live.status().permissions_written_at)
    }

    fn status(&self, live: &LiveObject<'_, RepoFanout>, progress: Progress) -> RepoFanoutStatus {
        let Report {
            target,
            converged,
            subscribed,
            delivered,
            pruned,
            announced,
            retired,
            complete,
        } = &self.report;
        let generation = live.current.metadata.generation;
        let mut before = live.status();
        let orphaned = converged
            .as_ref()
            .map(|c| c.orphaned.clone())
            .unwrap_or_default();
        before.former = match retired {
            Some(retired) => retired.former.clone(),
            None => retire::former(live.status(), &orphaned),
        };
        let placed = target.as_ref().filter(|t| t.placed);
        if let Some(converged) = converged {
            if let Some(resources) = &converged.resources {
                before.placement = placed.map(|t| t.place.status());
                before.resources.clone_from(resources);
            }
            before.topic_arn = converged.topic.clone().or(before.topic_arn);
            if converged.applied {
                before.applied_generation = generation;
                before.applied_class_generation = self.class().map(|key| key.generation);
            }
        }
        let delivery = delivered.as_ref().map(|d| &d.delivery);
        before.delivered = delivery
            .and_then(|d| d.delivered.clone())
            .or(before.delivered);
        let subscriptions = subscribed.as_ref().and_then(|s| s.subscriptions.clone());
        before.subscriptions = subscriptions.unwrap_or(before.subscriptions);
        let recorded = pruned.as_ref().and_then(|p| p.status.clone());
        before.pruned = recorded.or(before.pruned);
        echo_requests(live, &mut before, *complete, self.is_full());
        // A pass that stopped before a feature knows nothing about it.
        let feature = |outcome: Option<&Outcome>| match outcome {
            None if *complete => FeatureOutcome::NotAsked,
            None => FeatureOutcome::Unchanged,
            Some(outcome) if !outcome.asked && *complete => FeatureOutcome::NotAsked,
            Some(outcome) => match &outcome.verdict {
                Some(v) => FeatureOutcome::Now(v.reason, v.message.clone()),
                None => FeatureOutcome::Unchanged,
            },
        };
        let parties = self.parties(live);
        let repository = &*live.current.spec.repository;
        let observation = Observation {
            outcome: PassOutcome {
                generation,
                concluded: *complete || Self::is_refused(&progress),
                progress,
            },
            place: placed.map(|t| &t.place),
            repository,
            copying: Situation {
                caller: self.role(),
                ..parties.situation(Activity::Execution(repository), self.place())
            },
            connection: converged.as_ref().and_then(|c| c.connection.as_ref()),
            drift: converged.as_ref().and_then(|c| c.drift.as_deref()),
            executions: self.executions(),
            failure: delivery.and_then(|d| d.failure.as_ref()),
            standstill: delivery.and_then(|d| d.standstill.as_ref()),
            features: Features {
                prune: feature(pruned.as_ref().map(|p| &p.outcome)),
                announce: feature(announced.as_ref()),
                subscribe: feature(subscribed.as_ref().map(|s| &s.outcome)),
            },
        };
        let mut next = status::status(&before, &observation);
        if self.is_full() && converged.as_ref().is_some_and(|c| c.applied) {
            next.pipeline_version = self.pipeline().map(|p| p.version);
        }
        next
    }

    /// Returns what the next observation builds on: the result of this one, or that of the last
    /// full one as far as it still holds.
    fn remembered(&self, progress: &Progress) -> Remembered {
        let schedule = self.schedule();
        let settled = match self.report.converged.as_ref().map(|c| c.quick.as_deref()) {
            None => None,
            Some(None) => (self.report.complete && !schedule.is_full())
                .then(|| Settled::now(self.pipeline().cloned())),
            Some(Some(quick)) => {
                let mut settled = quick.settled.clone();
                settled.listed_at = quick.listed_at.unwrap_or(settled.listed_at);
                settled.pipeline = self.pipeline().cloned().or(settled.pipeline);
                if let Some(pipeline) = &mut settled.pipeline
                    && (!self.report.complete || schedule.waits())
                {
                    // The pass did not handle all executions, or a delay is running.
                    pipeline.read_at = None;
                }
                Some(settled)
            }
        };
        match (progress, settled) {
            (Progress::Unchanged, Some(settled)) => Remembered::Confirmed(settled),
            (Progress::Unchanged, None) => Remembered::Unchanged,
            (_, settled) => Remembered::Observed(settled),
        }
    }

    fn written(
        &self,
        env: &Environment,
        live: &LiveObject<'_, RepoFanout>,
        concluded: bool,
        due: Duration,
    ) -> Due {
        if concluded {
            env.acknowledge(&live.current, &self.inputs.receipts);
        }
        if self.report.converged.as_ref().is_some_and(|c| c.placed) {
            // Wakes the class so that it counts the object; the cache has the placement by now.
            env.catalog.wake_all();
        }
        let Basis { class, feed, .. } = self.inputs.basis;
        let basis = Basis {
            class,
            feed,
            ..live.basis()
        };
        Due {
            basis,
            observe: due,
            requeue: due,
        }
    }
}
