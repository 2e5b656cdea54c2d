//! What a test asks of the API server.

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1;
use kube::api::{
    Api, DeleteParams, ListParams, Patch, PatchParams, PostParams, ValidationDirective,
};
use repofanout::api::status::RepoFanoutStatus;
use repofanout::api::{RepoFanout, RepoFanoutClass};
use serde_json::{Value, json};
use support::Result;

use super::Case;

/// An event of an object, as Kubernetes keeps it.
#[derive(Clone, Debug)]
pub struct Event {
    pub reason: String,
    pub note: String,
}

/// An apply that refuses fields that the schema does not know.
fn strict_apply() -> PatchParams {
    PatchParams {
        field_validation: Some(ValidationDirective::Strict),
        ..PatchParams::apply("test").force()
    }
}

impl Case {
    pub fn api(&self) -> Api<RepoFanout> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn classes(&self) -> Api<RepoFanoutClass> {
        Api::all(self.client.clone())
    }

    pub fn namespaces(&self) -> Api<Namespace> {
        Api::all(self.client.clone())
    }

    pub async fn create_namespace(&self, name: &str, labels: Value) {
        let object = json!({"metadata": {"name": name, "labels": labels}});
        let object = serde_json::from_value(object).expect("a namespace");
        self.namespaces()
            .create(&PostParams::default(), &object)
            .await
            .expect("a namespace");
    }

    /// Creates a fan-out, or changes its spec; fails with the API server's complaint.
    pub async fn apply(&self, name: &str, spec: Value) -> Result<RepoFanout> {
        self.apply_annotated(name, spec, json!({})).await
    }

    pub async fn apply_annotated(
        &self,
        name: &str,
        spec: Value,
        annotations: Value,
    ) -> Result<RepoFanout> {
        let object = json!({
            "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanout",
            "metadata": {"name": name, "namespace": self.namespace, "annotations": annotations}, "spec": spec,
        });
        self.api()
            .patch(name, &strict_apply(), &Patch::Apply(&object))
            .await
            .map_err(|e| e.to_string())
    }

    /// Creates a class that this case's operator serves, or changes its spec; fails with the API
    /// server's complaint.
    pub async fn apply_class(
        &self,
        name: &str,
        mut spec: Value,
        default: bool,
    ) -> Result<RepoFanoutClass> {
        spec["controller"] = json!(self.flag("--controller-name="));
        let object = json!({
            "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanoutClass",
            "metadata": {"name": name, "annotations": {"repofanout.dev/is-default-class": default.to_string()}}, "spec": spec,
        });
        self.classes()
            .patch(name, &strict_apply(), &Patch::Apply(&object))
            .await
            .map_err(|e| e.to_string())
    }

    pub async fn annotate(&self, name: &str, key: &str, value: &str) {
        let patch = json!({"metadata": {"annotations": {key: value}}});
        self.api()
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .expect("an annotation");
    }

    pub async fn get(&self, name: &str) -> RepoFanout {
        self.api().get(name).await.expect("the object")
    }

    pub async fn status(&self, name: &str) -> RepoFanoutStatus {
        self.get(name).await.status.unwrap_or_default()
    }

    /// Merges this into the fan-out's status; `null` wipes it, as a restore from a backup would.
    pub async fn patch_status(&self, name: &str, status: Value) {
        let patch = Patch::Merge(json!({"status": status}));
        self.api()
            .patch_status(name, &PatchParams::default(), &patch)
            .await
            .expect("a status");
    }

    pub async fn delete(&self, name: &str) {
        self.api()
            .delete(name, &DeleteParams::default())
            .await
            .expect("a deletion");
    }

    pub async fn delete_class(&self, name: &str) {
        self.classes()
            .delete(name, &DeleteParams::default())
            .await
            .expect("a deletion");
    }

    /// The events of an object.
    pub async fn events(&self, name: &str) -> Vec<Event> {
        let api: Api<v1::Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = api.list(&ListParams::default()).await.expect("events");
        events
            .into_iter()
            .filter(|e| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name))
            .map(|e| Event {
                reason: e.reason.unwrap_or_default(),
                note: e.note.unwrap_or_default(),
            })
            .collect()
    }
}
