//! The operator of a test: how it is started, and which permissions it has.

use std::collections::BTreeMap;
use std::sync::Mutex;

use kube::ResourceExt;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};
use support::{Operator, OperatorConfig};

use super::{Case, REGION, world};

impl Case {
    /// Starts the operator with the flags of the case and the permissions of the chart; kills the one
    /// that runs.
    pub async fn start(&mut self) {
        self.operator = None;
        self.grant(self.chart_rbac()).await;
        self.start_as_granted();
    }

    /// Starts the operator with the permissions that were granted last.
    pub fn start_as_granted(&mut self) {
        let user = self.user();
        let config = OperatorConfig {
            account: self.account.clone(),
            region: REGION.to_owned(),
            namespace: self.namespace.clone(),
            flags: self.flags.clone(),
            kubeconfig: Some(match &self.proxy {
                Some(proxy) => proxy.kubeconfig.clone(),
                None => world()
                    .cluster
                    .kubeconfig_as(&self.namespace, &user)
                    .expect("a kubeconfig"),
            }),
        };
        let started = Operator::start(world(), &self.program, &config);
        self.operator = Some(started.expect("the operator"));
    }

    /// Starts the operator anew, behind a proxy in front of the API server.
    pub async fn start_behind_proxy(&mut self) {
        self.set_proxy().await;
        self.start().await;
    }

    /// From its next start the operator is behind a proxy.
    pub async fn set_proxy(&mut self) {
        self.proxy = Some(
            world()
                .api_proxy(&self.namespace, &self.user())
                .await
                .expect("a proxy"),
        );
    }

    /// Kills the operator and starts it with other flags.
    pub async fn restart_with(&mut self, flags: &[&str]) {
        self.add_flags(flags);
        self.start().await;
    }

    /// Kills the operator and starts it without a flag.
    pub async fn restart_without(&mut self, flag: &str) {
        self.remove_flag(flag);
        self.start().await;
    }

    /// The ServiceAccount and the RBAC objects that the chart renders for the flags of the case.
    pub fn chart_rbac(&self) -> Vec<Value> {
        // Rendering takes longer than the rest of a start, so it is done once for all cases that
        // differ by their namespace alone.
        static RENDERED: Mutex<BTreeMap<Vec<String>, String>> = Mutex::new(BTreeMap::new());
        const NAMESPACE: &str = "namespace-of-the-case";
        let own = |text: &str| text.replace(&self.namespace, NAMESPACE);
        let flag = |name: &str| {
            self.flags
                .iter()
                .filter_map(|f| f.strip_prefix(name))
                .map(own)
                .collect::<Vec<_>>()
        };
        let mut namespaces = flag("--watch-namespace=");
        if namespaces.is_empty() {
            namespaces.push(NAMESPACE.to_owned());
        }
        let namespaces = format!("--set=watchNamespaces={{{}}}", namespaces.join(","));
        let controller = flag("--controller-name=")
            .pop()
            .unwrap_or_else(|| "repofanout".to_owned());
        let controller = format!("--set=operator.controllerName={controller}");
        let files = [
            "--show-only=templates/rbac.yaml",
            "--show-only=templates/serviceaccount.yaml",
        ];
        let flags = [&[&*namespaces, &*controller], &files[..]].concat();
        let key = flags.iter().map(|flag| (*flag).to_owned()).collect();
        let mut known = RENDERED.lock().expect("no panic while held");
        let render = || {
            world()
                .helm
                .template("repofanout", NAMESPACE, &flags)
                .expect("the chart")
        };
        let rendered = known
            .entry(key)
            .or_insert_with(render)
            .replace(NAMESPACE, &self.namespace);
        serde_saphyr::from_multiple(&rendered).expect("YAML")
    }

    /// Grants these permissions to the operator, and no others.
    pub async fn grant(&mut self, objects: Vec<Value>) {
        if self.granted == objects {
            return;
        }
        for object in &objects {
            let object: DynamicObject = serde_json::from_value(object.clone()).expect("an object");
            let types = object.types.clone().expect("a kind");
            let resource =
                ApiResource::from_gvk(&GroupVersionKind::try_from(&types).expect("a kind"));
            let api: Api<DynamicObject> = match &object.metadata.namespace {
                Some(namespace) => Api::namespaced_with(self.client.clone(), namespace, &resource),
                None => Api::all_with(self.client.clone(), &resource),
            };
            let params = PatchParams::apply("helm").force();
            api.patch(&object.name_any(), &params, &Patch::Apply(&object))
                .await
                .expect("an RBAC object");
        }
        self.granted = objects;
    }

    /// Grants everything to the ServiceAccount, for a command that a person runs: one who may write
    /// RepoFanouts.
    pub async fn grant_everything(&mut self) {
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{}-editor", self.namespace)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "repofanout", "namespace": self.namespace}],
        });
        self.grant(vec![binding]).await;
    }

    /// The operator's ServiceAccount, as RBAC names it.
    fn user(&self) -> String {
        format!("system:serviceaccount:{}:repofanout", self.namespace)
    }

    /// The last lines of the operator's log, for a failed test.
    pub fn log(&self) -> String {
        let path = world()
            .logs
            .join(format!("operator-{}.log", self.namespace));
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(25).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}
