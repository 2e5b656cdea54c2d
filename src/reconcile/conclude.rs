//! The end of a pass: its status, and when to look again.

use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::runtime::controller::Action as Requeue;

use crate::api::condition::{ConditionType, Reason};
use crate::api::status::RepoFanoutStatus;
use crate::api::{RECONCILE_REQUESTED_AT, RELEASE_REQUESTED_AT};
use crate::cloud::{Class, Error};
use crate::domain::arn::Audience;
use crate::domain::computed::Computed;
use crate::domain::placement::Placement;
use crate::domain::refusal::Refusal;
use crate::reconcile::converge::Stop;
use crate::reconcile::fanout::{Pass, Told};
use crate::state::environment::{Context, log_error};
use crate::state::memory::{Basis, Settled};
use crate::status;
use crate::status::{Look, Optional, Progress};

impl Context {
    /// Close looks at a connection that waits for a person at first, rarer ones the longer nobody
    /// authorizes it.
    pub fn pending_delay(&self, conditions: &[Condition], now: Timestamp) -> Duration {
        let since = k8s_controller::conditions::find(
            conditions,
            ConditionType::ConnectionAvailable.as_str(),
        );
        let age = since.map_or(Duration::ZERO, |c| {
            Duration::try_from(now.duration_since(c.last_transition_time.0)).unwrap_or_default()
        });
        (age / 20).clamp(self.pace.close, self.pace.idle.max(self.pace.close) * 5)
    }
}

impl Pass<'_> {
    /// A value that stands at creation, or while the echo is lost, counts as done. So
    /// does a release while there is no pipeline: its creation runs it anyway.
    pub(crate) fn echo_requests(&self, status: &mut RepoFanoutStatus) {
        let value = |key| Some(self.object.requested(key));
        if status.last_handled_release_at.is_none() || self.saw.concluded {
            status.last_handled_release_at = value(RELEASE_REQUESTED_AT);
        }
        if status.last_handled_reconcile_at.is_none() || (self.saw.concluded && self.saw.full) {
            status.last_handled_reconcile_at = value(RECONCILE_REQUESTED_AT);
        }
    }

    /// Says that nothing is looked at, and waits until that is taken back.
    pub(crate) async fn suspend(mut self) -> Result<Requeue, kube::Error> {
        self.object.count("suspended");
        let next = status::suspended(
            &self.object.status(),
            self.object.current.metadata.generation,
        );
        self.object.set_status(next).await?;
        self.context
            .memos
            .looked(&self.object.uid(), None, self.key);
        self.context
            .heeded(&self.object.current, &self.object.uid(), &self.heard);
        Ok(Requeue::await_change())
    }

    /// Writes the status, and says when to look again.
    pub(crate) async fn finish(mut self, stop: Option<Stop>) -> Result<Requeue, kube::Error> {
        let uid = self.object.uid();
        let memos = &self.context.memos;
        let own = self.own_arns();
        let own: Vec<&str> = own.iter().map(String::as_str).collect();
        let interval = self.saw.interval.unwrap_or(Duration::from_secs(600));
        let (progress, delay) = match stop {
            Some(Stop::Kube(error)) => {
                memos.looked(&uid, None, self.key);
                return Err(error);
            }
            Some(Stop::Wait(reason, message, delay)) => (Progress::Waiting(reason, message), delay),
            Some(Stop::Refused(refusals)) => (Progress::Refused(refusals), interval),
            Some(Stop::Cloud(error)) => {
                self.stopped_by_cloud(&error, Audience::Own(&own), interval)
            }
            None if !self.saw.full => (Progress::Unchanged, self.next_look(interval)),
            None => match self.saw.pending.take() {
                Some((reason, message)) => {
                    (Progress::Waiting(reason, message), self.next_look(interval))
                }
                None => (Progress::Settled, self.next_look(interval)),
            },
        };
        self.object.count(progress.result());
        let concluded = self.saw.concluded || matches!(progress, Progress::Refused(_));
        let looked = !matches!(progress, Progress::Unchanged);
        let former = self.saw.former.take().unwrap_or_else(|| self.former());
        let mut before = self.object.status();
        let first = before.delivered.is_none() && self.saw.delivered.is_some();
        // Of two claims of the same second that of who has delivered is older: it is put in anew.
        let delay = if first { Duration::ZERO } else { delay };
        if first {
            let created = self
                .object
                .current
                .metadata
                .creation_timestamp
                .as_ref()
                .map_or(self.now, |t| t.0);
            self.context.metrics.became_ready(
                Duration::try_from(self.now.duration_since(created)).unwrap_or_default(),
            );
        }
        if let Some(resources) = self.saw.resources.take() {
            before.placement = self.saw.place.as_ref().map(Placement::status);
            before.resources = resources;
        }
        before.topic_arn = self.saw.topic.take().or(before.topic_arn);
        before.delivered = self.saw.delivered.take().or(before.delivered);
        before.subscriptions = self
            .saw
            .subscriptions
            .take()
            .unwrap_or(before.subscriptions);
        before.pruned = self.saw.pruned.take().or(before.pruned);
        if let Some(connection) = &mut before.connection
            && self.saw.connection.is_some()
        {
            connection.intent = None;
        }
        if self.saw.applied {
            before.applied_generation = self.object.current.metadata.generation;
            before.applied_class_generation = self.key.map(|key| key.generation);
        }
        before.former = former;
        self.echo_requests(&mut before);
        let optional = |type_, part: &Told| {
            let told = part.told.clone();
            // A pass that did not come so far knows nothing of it.
            Optional {
                type_,
                asked: part.asked || !self.saw.concluded,
                told,
            }
        };
        let look = Look {
            generation: self.object.current.metadata.generation,
            concluded,
            place: self.saw.place.as_ref(),
            repository: &self.object.current.spec.repository,
            connection: self.saw.connection.as_ref(),
            progress,
            drift: self.saw.drift.as_deref(),
            executions: self.saw.executions.as_deref(),
            failure: self.saw.failure.as_ref(),
            optional: &[
                optional(ConditionType::Pruned, &self.saw.pruning),
                optional(ConditionType::Announced, &self.saw.announcements),
                optional(ConditionType::Subscribed, &self.saw.subscribing),
            ],
        };
        let mut next = status::status(&before, &look);
        if self.saw.full && self.saw.applied {
            next.pipeline_version = self.saw.pipeline.as_ref().map(|p| p.version);
        }
        let settled = self.settled();
        if looked {
            // Until the status is written, the next look is a full one.
            memos.looked(&uid, None, self.key);
        }
        self.object.set_status(next).await?;
        if looked {
            memos.looked(&uid, settled, self.key);
        } else if let Some(settled) = settled {
            memos.still(&uid, settled, self.key);
        }
        if concluded {
            self.context.heeded(&self.object.current, &uid, &self.heard);
        }
        let basis = Basis {
            class: self.key,
            feed: self.feed,
            ..self.object.basis()
        };
        memos.passed(&uid, basis, delay);
        if self.saw.new {
            // Its class counts it: by now the cache has its place.
            self.context.wake_classes();
        }
        Ok(Requeue::requeue(delay))
    }

    /// What the next look goes by: what this one found, or the full one before as far as it still
    /// holds.
    fn settled(&mut self) -> Option<Settled> {
        let pipeline = self.saw.pipeline.take();
        if self.saw.full {
            return (self.saw.concluded && self.saw.settled).then(|| Settled::now(pipeline));
        }
        let mut before = self.saw.before.take()?;
        before.listed_at = self.saw.listed_at.unwrap_or(before.listed_at);
        before.pipeline = pipeline.or(before.pipeline);
        if let Some(pipeline) = before
            .pipeline
            .as_mut()
            .filter(|_| !self.saw.concluded || self.saw.wait.is_some())
        {
            // Executions were not read to their end, or something waits for its time.
            pipeline.read_at = None;
        }
        Some(before)
    }

    fn stopped_by_cloud(
        &self,
        error: &Error,
        audience: Audience<'_>,
        interval: Duration,
    ) -> (Progress, Duration) {
        log_error(error);
        let memos = &self.context.memos;
        let uid = self.object.uid();
        let written = self.object.status().permissions_written_at;
        let progress = status::progress(error, audience);
        if let (Some(advice), Progress::Waiting(_, message)) =
            (status::overdue(error.class, written, self.now), &progress)
        {
            return (
                Progress::Refused(vec![Refusal::new(
                    Reason::AccessDenied,
                    format!("{message}; {advice}"),
                )]),
                interval,
            );
        }
        match (error.class, progress) {
            (Class::Transient | Class::Throttled, Progress::Waiting(reason, message)) => {
                // A stumble while nothing had to change leaves the object as it was.
                let ready = k8s_controller::conditions::find(
                    &self.object.status().conditions,
                    ConditionType::Ready.as_str(),
                )
                .is_some_and(|c| {
                    c.status == "True"
                        && c.observed_generation == self.object.current.metadata.generation
                });
                let progress = if ready {
                    Progress::Unchanged
                } else {
                    Progress::Waiting(reason, message)
                };
                (progress, memos.backoff(&uid, error.class))
            }
            (_, progress) => (progress, memos.backoff(&uid, error.class)),
        }
    }

    /// The ARNs that this object's messages may name.
    fn own_arns(&self) -> Vec<String> {
        let mut own: Vec<String> = self.object.status().resources.into_values().collect();
        own.extend(
            self.saw
                .resources
                .iter()
                .flatten()
                .map(|(_, arn)| arn.clone()),
        );
        if let Some(place) = &self.saw.place {
            let names = Computed::new(place);
            own.extend([names.role_arn, names.pipeline_arn, names.topic_arn]);
        }
        let class = self.class.as_ref().and_then(|class| class.status.as_ref());
        own.extend(
            class
                .iter()
                .flat_map(|status| status.resources.values().cloned()),
        );
        own
    }
}
