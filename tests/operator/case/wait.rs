//! What a test waits for, each with a limit and with a failure that shows what was there instead.

use std::fmt::Debug;
use std::time::Duration;

use kube::core::object::HasStatus;
use kube::{Api, Resource};
use repofanout::api::RECONCILE_REQUESTED_AT;
use repofanout::api::class::RepoFanoutClassStatus;
use repofanout::api::status::RepoFanoutStatus;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::condition::Conditions;
use super::{Case, LIMIT, condition, is_true};

impl Case {
    /// Asks again and again until there is an answer; fails with what was missing last, and with
    /// the end of the operator's log.
    pub async fn until<T, F: Future<Output = support::Result<T>>>(
        &self,
        ask: impl FnMut() -> F,
    ) -> T {
        self.until_within(LIMIT, ask).await
    }

    pub async fn until_within<T, F: Future<Output = support::Result<T>>>(
        &self,
        limit: Duration,
        ask: impl FnMut() -> F,
    ) -> T {
        match support::until(limit, ask).await {
            Ok(answer) => answer,
            Err(missing) => panic!("{missing}\n{}", self.log()),
        }
    }

    /// Waits until the fan-out's status is of its last generation, and holds what the test wants.
    pub async fn wait(
        &self,
        name: &str,
        missing: &str,
        holds: impl Fn(&RepoFanoutStatus) -> bool,
    ) -> RepoFanoutStatus {
        self.wait_status(&self.api(), name, missing, holds).await
    }

    /// The same of a class.
    pub async fn wait_class(
        &self,
        name: &str,
        missing: &str,
        holds: impl Fn(&RepoFanoutClassStatus) -> bool,
    ) -> RepoFanoutClassStatus {
        self.wait_status(&self.classes(), name, missing, holds)
            .await
    }

    async fn wait_status<K>(
        &self,
        api: &Api<K>,
        name: &str,
        missing: &str,
        holds: impl Fn(&K::Status) -> bool,
    ) -> K::Status
    where
        K: Resource + HasStatus + Clone + Debug + DeserializeOwned,
        K::Status: Conditions + Clone + Default + Serialize,
    {
        self.until(|| async {
            let object = api.get(name).await.map_err(|e| e.to_string())?;
            let status = object.status().cloned().unwrap_or_default();
            let is_observed = status.observed_generation() == object.meta().generation;
            if is_observed && holds(&status) {
                return Ok(status);
            }
            let shown = serde_json::to_string_pretty(&status).unwrap_or_default();
            Err(format!("{name}: {missing}; the status is {shown}"))
        })
        .await
    }

    /// Waits until the fan-out's condition has this status, for this reason.
    pub async fn wait_condition(
        &self,
        name: &str,
        type_: &str,
        status: &str,
        reason: &str,
    ) -> RepoFanoutStatus {
        self.wait(name, &format!("{type_} is not {status}/{reason}"), |s| {
            condition(s, type_).is_some_and(|c| c.is(status, reason))
        })
        .await
    }

    /// Waits until a commit is in the bucket, and the fan-out is ready.
    pub async fn wait_delivered(&self, name: &str, commit: &str) -> RepoFanoutStatus {
        self.wait(name, &format!("{commit} is not delivered"), |s| {
            let delivered = s.delivered.as_ref().and_then(|d| d.commit.as_ref());
            delivered.is_some_and(|c| c.id == commit) && is_true(s, "Ready")
        })
        .await
    }

    /// Requests a reconcile, and waits until the status acknowledges this value.
    pub async fn reconcile(&self, name: &str, value: &str) -> RepoFanoutStatus {
        self.annotate(name, RECONCILE_REQUESTED_AT, value).await;
        self.wait(name, "the reconcile is not acknowledged", |s| {
            s.last_handled_reconcile_at.as_deref() == Some(value)
        })
        .await
    }

    /// Waits until the fan-out is deleted.
    pub async fn wait_gone(&self, name: &str) {
        self.wait_deleted(&self.api(), name).await;
    }

    /// Waits until the class is deleted.
    pub async fn wait_class_gone(&self, name: &str) {
        self.wait_deleted(&self.classes(), name).await;
    }

    async fn wait_deleted<K>(&self, api: &Api<K>, name: &str)
    where
        K: HasStatus + Clone + Debug + DeserializeOwned,
        K::Status: Conditions,
    {
        self.until(|| async {
            match api.get_opt(name).await.map_err(|e| e.to_string())? {
                None => Ok(()),
                Some(object) => Err(format!(
                    "{name} is still there: {:?}",
                    object.status().map(Conditions::conditions)
                )),
            }
        })
        .await;
    }

    /// Waits for an event of the fan-out: it is written after the status that it reports.
    pub async fn wait_event(&self, name: &str, reason: &str, text: &str) {
        self.until(|| async {
            let events = self.events(name).await;
            let found = events
                .iter()
                .any(|event| event.reason == reason && event.note.contains(text));
            found
                .then_some(())
                .ok_or_else(|| format!("no event {reason} with '{text}': {events:?}"))
        })
        .await;
    }
}
