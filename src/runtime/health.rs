//! Health and metrics of this process: readiness, liveness and a snapshot of its caches.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kube::Resource;

use crate::api::condition::ConditionType;
use crate::api::{RepoFanout, RepoFanoutClass};
use crate::metrics::{Objects, Queue, Snapshot, Stalled};
use crate::resource::connection::ConnectionState;
use crate::runtime::operator::Operator;
use crate::state::live_object::Custom;

impl Operator {
    /// Checks readiness: the caches are synced and the schema is usable. A process that does not
    /// lead can be ready, too.
    ///
    /// # Errors
    /// Returns one line that says what is missing.
    pub fn ready(&self) -> Result<(), String> {
        self.gate.ready()
    }

    /// Checks liveness: passes finish.
    ///
    /// # Errors
    /// Returns one line that says what is stuck.
    pub fn alive(&self) -> Result<(), String> {
        let limit = self.env.pace.stuck;
        if let Some((uid, since)) = self.env.memory.longest_running()
            && since.elapsed() > limit
        {
            return Err(format!(
                "the pass over the object with uid {uid} has not ended for {:?}",
                since.elapsed()
            ));
        }
        let Some(open) = self.gate.open_since() else {
            return Ok(());
        };
        let quiet = self
            .env
            .memory
            .last_end()
            .map_or(open, |end| end.max(open))
            .elapsed();
        let age = self
            .queues(open)
            .values()
            .map(|queue| queue.age)
            .max()
            .unwrap_or_default();
        if quiet > limit && age > limit {
            return Err(format!(
                "objects are due for {age:?}, and no pass has ended for {quiet:?}"
            ));
        }
        Ok(())
    }

    /// Takes a snapshot of all cached objects for the metrics.
    pub fn snapshot(&self) -> Snapshot {
        let open = self.gate.open_since();
        let mut snapshot = Snapshot {
            leader: open.is_some(),
            ..Snapshot::default()
        };
        let Some(open) = open else { return snapshot };
        let now = Timestamp::now();
        snapshot.queues = self.queues(open);
        snapshot.event_queues = self.env.feeds.counts();
        for object in self
            .env
            .fleet
            .all()
            .iter()
            .filter_map(|g| g.0.as_ref().ok())
        {
            snapshot.fanout(object, now);
        }
        for class in self.env.catalog.classes() {
            snapshot.class(&class, now);
        }
        snapshot
    }

    /// Counts the objects that are due, by kind.
    fn queues(&self, open: Instant) -> BTreeMap<&'static str, Queue> {
        let fanouts = self.env.fleet.all();
        let fanouts = fanouts
            .iter()
            .filter(|g| g.0.is_ok())
            .filter_map(|g| g.meta().uid.clone());
        let classes = self
            .env
            .catalog
            .classes()
            .into_iter()
            .filter_map(|class| class.metadata.uid.clone());
        BTreeMap::from([
            (RepoFanout::KIND, self.env.memory.queue(fanouts, open)),
            (RepoFanoutClass::KIND, self.env.memory.queue(classes, open)),
        ])
    }
}

impl Snapshot {
    fn fanout(&mut self, object: &RepoFanout, now: Timestamp) {
        let conditions = object.status.as_ref().map_or(&[][..], |s| &s.conditions);
        self.object(RepoFanout::KIND, object.meta(), conditions, now);
        let Some(status) = &object.status else { return };
        if let Some(execution) = &status.last_execution {
            *self
                .last_executions
                .entry(execution.status.clone())
                .or_default() += 1;
        }
        let own = status
            .resources
            .contains_key(crate::domain::kind::Resource::Connection.as_str());
        if let Some(state) = status
            .connection
            .as_ref()
            .and_then(|c| c.status.as_ref())
            .filter(|_| own)
        {
            self.connection(state, &status.conditions, now);
        }
    }

    fn class(&mut self, class: &RepoFanoutClass, now: Timestamp) {
        let conditions = class.status.as_ref().map_or(&[][..], |s| &s.conditions);
        self.object(RepoFanoutClass::KIND, class.meta(), conditions, now);
        let Some(status) = &class.status else { return };
        for state in status
            .connections
            .values()
            .filter_map(|c| c.status.as_ref())
        {
            self.connection(state, &status.conditions, now);
        }
    }

    fn connection(&mut self, state: &str, conditions: &[Condition], now: Timestamp) {
        *self.connections.entry(state.to_owned()).or_default() += 1;
        let since = ConditionType::ConnectionAvailable.find(conditions);
        if let (ConnectionState::Pending, Some(since)) = (ConnectionState::parse(state), since) {
            self.oldest_pending = self
                .oldest_pending
                .max(age(since.last_transition_time.0, now));
        }
    }

    fn object(
        &mut self,
        kind: &'static str,
        meta: &ObjectMeta,
        conditions: &[Condition],
        now: Timestamp,
    ) {
        let find = |type_: ConditionType| type_.find(conditions);
        let (ready, reason) = find(ConditionType::Ready)
            .map_or(("Unknown".to_owned(), "Unread".to_owned()), |c| {
                (c.status.clone(), c.reason.clone())
            });
        *self
            .objects
            .entry(Objects {
                kind,
                ready,
                reason,
            })
            .or_default() += 1;
        if let Some(stalled) = find(ConditionType::Stalled).filter(|c| c.status == "True") {
            *self
                .stalled
                .entry(Stalled {
                    kind,
                    reason: stalled.reason.clone(),
                })
                .or_default() += 1;
        }
        if let Some(deleted) = &meta.deletion_timestamp {
            self.oldest_deletion = self.oldest_deletion.max(age(deleted.0, now));
        }
    }
}

fn age(since: Timestamp, now: Timestamp) -> Duration {
    Duration::try_from(now.duration_since(since)).unwrap_or_default()
}
