//! One object in the API server: its finalizer, its status, its events.

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
use crate::api::{ABANDON, FINALIZER, RELEASE_REQUESTED_AT, RepoFanout, RepoFanoutClass};
use crate::state::environment::Environment;
use crate::state::memory::Basis;
use crate::state::recorder::Notice;

/// A status that tells what changed for its readers.
pub trait Transition {
    /// The conditions.
    fn conditions(&self) -> &[Condition];
    /// The events of a transition from this status to the next one.
    fn notices(&self, next: &Self) -> Vec<Notice>;
}

/// A custom resource of ours.
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
    /// Its kind, as metrics name it.
    const KIND: &'static str;
    /// The API that serves it.
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

/// An object and the version of it that our writes build on: each write is a
/// compare-and-swap, so that what was read from a stale cache changes nothing.
pub struct LiveObject<'a, K> {
    env: &'a Environment,
    api: Api<K>,
    /// The object as the API server last told it.
    pub current: K,
}

impl LiveObject<'_, RepoFanout> {
    /// What asks for a release that nobody has acted on. A value that stands at creation, or while
    /// its echo is lost, asks for nothing.
    pub fn release(&self) -> Option<String> {
        let asked = self.requested(RELEASE_REQUESTED_AT);
        let handled = self.status().last_handled_release_at?;
        (!asked.is_empty() && asked != handled).then_some(asked)
    }
}

impl<'a, K: Custom> LiveObject<'a, K> {
    /// The object as it was read.
    pub fn new(env: &'a Environment, object: &K) -> Self {
        Self {
            env,
            api: object.api(env.client.clone()),
            current: object.clone(),
        }
    }

    /// The object's uid.
    pub fn uid(&self) -> String {
        self.current.uid().unwrap_or_default()
    }

    /// The status as last written.
    pub fn status(&self) -> K::Status {
        self.current.status().cloned().unwrap_or_default()
    }

    /// Whether it was Ready in this generation when its status was last written.
    pub fn is_ready(&self) -> bool {
        let status: K::Status = self.status();
        let ready = conditions::find(status.conditions(), ConditionType::Ready.as_str());
        let generation = self.current.meta().generation;
        ready.is_some_and(|c| c.status == "True" && c.observed_generation == generation)
    }

    /// The value of an annotation.
    pub fn annotation(&self, key: &str) -> Option<&str> {
        self.current.annotations().get(key).map(String::as_str)
    }

    /// The value of an annotation that asks for something, as status echoes it: empty if it does
    /// not stand.
    pub fn requested(&self, key: &str) -> String {
        self.annotation(key)
            .unwrap_or_default()
            .chars()
            .take(256)
            .collect()
    }

    /// Counts what came of a pass.
    pub fn count(&self, result: &'static str) {
        self.env.metrics.reconciled(K::KIND, result);
    }

    /// Puts our finalizer on it, or takes it off.
    pub async fn set_finalizer(&mut self, present: bool) -> Result<(), kube::Error> {
        if present && self.env.settings().read_only {
            // Nothing is made that would have to be deleted.
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

    /// Writes the status, if it differs from the last one, and tells of transitions.
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

    /// Writes the status, also if it is as it was: the API server refuses where the object is not
    /// as it was read. To be done before AWS is written to, so that nothing is done for an object
    /// of the past.
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

    /// Publishes an event about it.
    pub async fn notify(&self, notice: Notice) {
        self.env.recorder.publish(&self.current, notice).await;
    }

    /// Whether its author lets go of what it has in AWS; it is told then what stays there.
    pub async fn abandoned(&self, left: &BTreeMap<String, String>) -> bool {
        if self.annotation(ABANDON) != Some(&*self.current.name_any()) {
            return false;
        }
        let left: Vec<&str> = left.values().map(String::as_str).collect();
        warn!(?left, "abandoned: these resources stay in AWS");
        let note = format!("abandoned by annotation; left in AWS: {}", left.join(", "));
        self.notify(Notice {
            warning: true,
            reason: "Abandoned".to_owned(),
            note,
        })
        .await;
        true
    }

    /// Tells what was kept, if anything was, and why.
    pub async fn retained(&self, why: &str, kept: Vec<String>) {
        if !kept.is_empty() {
            let note = format!("{why}: {}", kept.join(", "));
            self.notify(Notice {
                warning: false,
                reason: "Retained".to_owned(),
                note,
            })
            .await;
        }
    }

    /// What the next pass rests on, where class and events play no part.
    pub fn basis(&self) -> Basis {
        Basis {
            resource_version: self.current.meta().resource_version.clone(),
            ..Basis::default()
        }
    }
}
