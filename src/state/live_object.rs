//! One object in the API server: its finalizer, its status and its events.

use std::collections::BTreeMap;
use std::fmt::Debug;

use k8s_controller::conditions;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::api::{Api, Patch, PatchParams, PostParams};
use kube::core::NamespaceResourceScope;
use kube::core::object::HasStatus;
use kube::{Client, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::json;
use tracing::warn;

use crate::api::condition::ConditionType;
use crate::api::{
    ABANDON, FINALIZER, RELEASE_REQUESTED_AT, RepoFanout, RepoFanoutClass, STOP_REQUESTED_AT,
};
use crate::domain::settings::Identity;
use crate::state::environment::Environment;
use crate::state::memory::Basis;
use crate::state::recorder::Notice;

/// A status that can describe its changes as Kubernetes events.
pub trait Transition {
    /// Returns the conditions.
    fn conditions(&self) -> &[Condition];
    /// Returns the events that describe the transition from this status to `next`.
    fn notices(&self, next: &Self) -> Vec<Notice>;
}

/// One of our custom resources.
pub trait Custom:
    Resource<DynamicType = ()>
    + HasStatus<Status: Clone + Default + PartialEq + Transition>
    + Clone
    + Debug
    + Send
    + Sync
    + Serialize
    + DeserializeOwned
    + 'static
{
    /// Kind, as metrics name it.
    const KIND: &'static str;
    /// Returns the API client for the object.
    fn api(&self, client: Client) -> Api<Self>;
}

impl Custom for RepoFanout {
    const KIND: &'static str = "RepoFanout";

    fn api(&self, client: Client) -> Api<Self> {
        namespaced(self, client)
    }
}

impl Custom for RepoFanoutClass {
    const KIND: &'static str = "RepoFanoutClass";

    fn api(&self, client: Client) -> Api<Self> {
        Api::all(client)
    }
}

fn namespaced<K: Resource<DynamicType = (), Scope = NamespaceResourceScope>>(
    object: &K,
    client: Client,
) -> Api<K> {
    Api::namespaced(client, &object.namespace().unwrap_or_default())
}

/// An object and the resource version that our writes build on. Each write is a compare-and-swap,
/// so that a stale cache changes nothing.
pub struct LiveObject<'a, K> {
    env: &'a Environment,
    api: Api<K>,
    /// The object as the API server last returned it.
    pub current: K,
}

impl LiveObject<'_, RepoFanout> {
    /// Returns the value of the release annotation if it was not handled yet. A value that is
    /// present at creation, or while its echo is lost, counts as handled.
    pub fn release(&self) -> Option<String> {
        let requested = self.requested(RELEASE_REQUESTED_AT);
        let handled = self.status().last_handled_release_at?;
        (!requested.is_empty() && requested != handled).then_some(requested)
    }

    /// Returns the value of the stop annotation if it was not handled yet. A value that is present
    /// at creation, or while the echoes are lost, counts as handled.
    pub fn stop(&self) -> Option<String> {
        let requested = self.requested(STOP_REQUESTED_AT);
        let status = self.status();
        status.last_handled_release_at.as_ref()?;
        let handled = status.last_handled_stop_at.unwrap_or_default();
        (!requested.is_empty() && requested != handled).then_some(requested)
    }
}

impl<'a, K: Custom> LiveObject<'a, K> {
    /// Wraps an object that was read from the cache.
    pub fn new(env: &'a Environment, object: &K) -> Self {
        Self {
            env,
            api: object.api(env.client.clone()),
            current: object.clone(),
        }
    }

    /// Returns the identity of the operator's own credentials.
    pub fn operator(&self) -> &Identity {
        &self.env.catalog.identity
    }

    /// Returns the uid of the object.
    pub fn uid(&self) -> String {
        self.current.uid().unwrap_or_default()
    }

    /// Returns the status as last written.
    pub fn status(&self) -> K::Status {
        self.current.status().cloned().unwrap_or_default()
    }

    /// Returns whether the object was Ready in its present generation when its status was last
    /// written.
    pub fn is_ready(&self) -> bool {
        let status: K::Status = self.status();
        let ready = conditions::find(status.conditions(), ConditionType::Ready.as_str());
        let generation = self.current.meta().generation;
        ready.is_some_and(|c| c.status == "True" && c.observed_generation == generation)
    }

    /// Returns the value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.current.annotations().get(key).map(String::as_str)
    }

    /// Returns the value of a requesting annotation as status echoes it: empty if the annotation is
    /// absent.
    pub fn requested(&self, key: &str) -> String {
        self.annotation(key)
            .unwrap_or_default()
            .chars()
            .take(256)
            .collect()
    }

    /// Counts the result of a pass.
    pub fn count(&self, result: &'static str) {
        self.env.metrics.reconciled(K::KIND, result);
    }

    /// Adds or removes our finalizer.
    pub async fn set_finalizer(&mut self, present: bool) -> Result<(), kube::Error> {
        if present && self.env.settings().read_only {
            // A read-only operator creates nothing that would have to be deleted.
            return Ok(());
        }
        let has = self.current.finalizers().iter().any(|f| f == FINALIZER);
        if has == present {
            return Ok(());
        }
        let mut finalizers = self.current.finalizers().to_vec();
        finalizers.retain(|f| f != FINALIZER);
        if present {
            finalizers.push(FINALIZER.to_owned());
        }
        let patch = json!({"metadata": {"resourceVersion": self.current.resource_version(), "finalizers": finalizers}});
        let name = self.current.name_any();
        let patched = self
            .api
            .patch(&name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        *self.current.meta_mut() = patched.meta().clone();
        Ok(())
    }

    /// Writes the status if it differs from the last one, and publishes the events of the
    /// transition.
    pub async fn set_status(&mut self, next: K::Status) -> Result<(), kube::Error> {
        let before = self.status();
        if next == before {
            return Ok(());
        }
        let notices = before.notices(&next);
        let mut object = self.current.clone();
        *object.status_mut() = Some(next);
        let name = object.name_any();
        self.current = self
            .api
            .replace_status(&name, &PostParams::default(), &object)
            .await?;
        for notice in notices {
            self.notify(notice).await;
        }
        Ok(())
    }

    /// Writes the status even if it is unchanged: the API server refuses the write if the object
    /// changed since it was read. Call it before a write to AWS, so that nothing is done for an
    /// outdated object.
    pub async fn confirm_status(&mut self, next: K::Status) -> Result<(), kube::Error> {
        if next != self.status() {
            return self.set_status(next).await;
        }
        let name = self.current.name_any();
        self.current = self
            .api
            .replace_status(&name, &PostParams::default(), &self.current)
            .await?;
        Ok(())
    }

    /// Publishes an event about the object.
    pub async fn notify(&self, notice: Notice) {
        self.env.recorder.publish(&self.current, notice).await;
    }

    /// Returns whether the object is abandoned by its annotation. If so, publishes an event that
    /// lists the resources that stay in AWS.
    pub async fn abandoned(&self, resources: &BTreeMap<String, String>) -> bool {
        if self.annotation(ABANDON) != Some(&*self.current.name_any()) {
            return false;
        }
        let remaining: Vec<&str> = resources.values().map(String::as_str).collect();
        warn!(?remaining, "abandoned: these resources stay in AWS");
        let note = format!(
            "abandoned by annotation; left in AWS: {}",
            remaining.join(", ")
        );
        self.notify(Notice {
            warning: true,
            reason: "Abandoned".to_owned(),
            note,
        })
        .await;
        true
    }

    /// Publishes an event that lists the retained resources and the cause, if there are any.
    pub async fn retained(&self, cause: &str, kept: Vec<String>) {
        if !kept.is_empty() {
            let note = format!("{cause}: {}", kept.join(", "));
            self.notify(Notice {
                warning: false,
                reason: "Retained".to_owned(),
                note,
            })
            .await;
        }
    }

    /// Returns the inputs of the next pass, where class and events play no part.
    pub fn basis(&self) -> Basis {
        Basis {
            resource_version: self.current.meta().resource_version.clone(),
            ..Basis::default()
        }
    }
}
