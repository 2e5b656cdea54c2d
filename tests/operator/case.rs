//! What a test starts from: a namespace, an AWS account, and an operator.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

use k8s_openapi::api::core::v1::Namespace;
use k8s_openapi::api::events::v1::Event;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, ListParams, Patch,
    PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use repofanout::api::class::RepoFanoutClassStatus;
use repofanout::api::status::RepoFanoutStatus;
use repofanout::api::{RepoFanout, RepoFanoutClass};
use serde_json::{Value, json};
use support::aws::Aws;
use support::{ApiProxy, Operator, OperatorConfig, World, until};

pub const REGION: &str = "eu-west-1";
/// Long enough for a slow machine; nothing here waits for time to pass.
pub const LIMIT: Duration = Duration::from_secs(90);

/// The world of all tests, on a runtime that lives as long as the process.
pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        let (send, receive) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build();
            let runtime = runtime.expect("a runtime");
            let started = runtime.block_on(async {
                let world = World::start(|line| eprintln!("{line}")).await?;
                world.install_crds().await?;
                world.cluster.apply(&newer_crd()).await?;
                Ok::<_, String>(world)
            });
            send.send(started).expect("somebody waits");
            runtime.block_on(std::future::pending::<()>());
        });
        receive
            .recv()
            .expect("the thread answers")
            .unwrap_or_else(|e| panic!("the world does not start: {e}"))
    })
}

/// The CRD as a newer version of the operator might bring it: one more field, one more value.
fn newer_crd() -> String {
    let yaml =
        std::fs::read_to_string(support::root().join("crds/repofanouts.yaml")).expect("the CRD");
    let mut crd: Value = serde_saphyr::from_str(&yaml).expect("YAML");
    let spec = &mut crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"];
    spec["fromTheFuture"] = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    spec["pipeline"]["properties"]["type"]["enum"]
        .as_array_mut()
        .expect("an enum")
        .push(json!("V3"));
    crd.to_string()
}

/// The operator of this tree.
pub fn present() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_repofanout"))
}

/// One test's own part of the world.
pub struct Case {
    pub client: Client,
    pub namespace: String,
    pub account: String,
    pub operator: Option<Operator>,
    /// What is started as the operator, and run as its commands.
    pub program: PathBuf,
    flags: Vec<String>,
    /// What the operator reaches the API server through, if not directly.
    pub proxy: Option<ApiProxy>,
    /// What the chart grants to the operator, as last applied.
    granted: Vec<Value>,
}

impl Case {
    /// A namespace and an account, and an operator with these flags.
    pub async fn new(name: &str, flags: &[&str]) -> Self {
        let mut case = Self::without_operator(name, flags).await;
        case.start().await;
        case
    }

    /// A namespace and an account.
    pub async fn without_operator(name: &str, flags: &[&str]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let number = NEXT.fetch_add(1, Ordering::SeqCst);
        let kubeconfig = Kubeconfig::read_from(&world().cluster.kubeconfig).expect("a kubeconfig");
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default())
            .await
            .expect("a config");
        let client = Client::try_from(config).expect("a client");
        let namespace = format!("{name}-{number}");
        let object: Namespace =
            serde_json::from_value(json!({"metadata": {"name": namespace}})).expect("a namespace");
        Api::all(client.clone())
            .create(&PostParams::default(), &object)
            .await
            .expect("a namespace");
        let mut all = vec![
            "--cluster-id=tests".to_owned(),
            "--lease-duration=2s".to_owned(),
        ];
        all.extend(flags.iter().map(|f| (*f).to_owned()));
        if !all.iter().any(|f| f.starts_with("--poll-interval")) {
            all.push("--poll-interval=300ms".to_owned());
        }
        Self {
            client,
            namespace,
            account: format!("4444{number:08}"),
            operator: None,
            program: present(),
            flags: all,
            proxy: None,
            granted: Vec::new(),
        }
    }

    /// A namespace and an account, and an operator that serves classes of its own: those with the
    /// namespace as `controller`.
    pub async fn with_classes(name: &str, flags: &[&str]) -> Self {
        let mut case = Self::without_operator(name, flags).await;
        case.own_classes();
        case.start().await;
        case
    }

    /// From its next start the operator serves classes of its own.
    pub fn own_classes(&mut self) {
        self.flags
            .push(format!("--controller-name={}", self.namespace));
    }

    /// One more namespace that the operator serves; it is started anew for that.
    pub async fn namespace(&mut self, suffix: &str, labels: Value) -> String {
        let name = format!("{}-{suffix}", self.namespace);
        let object: Namespace =
            serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}}))
                .expect("a namespace");
        Api::all(self.client.clone())
            .create(&PostParams::default(), &object)
            .await
            .expect("a namespace");
        if !self
            .flags
            .iter()
            .any(|f| f.starts_with("--watch-namespace"))
        {
            self.flags
                .push(format!("--watch-namespace={}", self.namespace));
        }
        self.restart_with(&[&format!("--watch-namespace={name}")])
            .await;
        name
    }

    /// The same case, as seen from another namespace of its own.
    pub fn at(&self, namespace: &str) -> Self {
        Self {
            client: self.client.clone(),
            namespace: namespace.to_owned(),
            account: self.account.clone(),
            operator: None,
            program: self.program.clone(),
            flags: self.flags.clone(),
            proxy: None,
            granted: Vec::new(),
        }
    }

    /// What the chart makes for an operator with the flags of the case: its ServiceAccount and all
    /// that it may do.
    pub fn chart_rbac(&self) -> Vec<Value> {
        // Rendering takes longer than all else of a start: it is done once for all cases that
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

    /// Grants this to the operator, and nothing else.
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
                .expect("what the chart makes");
        }
        self.granted = objects;
    }

    /// The operator's ServiceAccount, as RBAC names it.
    fn user(&self) -> String {
        format!("system:serviceaccount:{}:repofanout", self.namespace)
    }

    /// Starts the operator, with the flags of the case and what the chart grants.
    pub async fn start(&mut self) {
        self.operator = None;
        self.grant(self.chart_rbac()).await;
        self.start_as_granted();
    }

    /// Starts the operator with what it was granted last.
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
        self.operator =
            Some(Operator::start(world(), &self.program, &config).expect("the operator"));
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

    /// From its next start the operator has these flags, too.
    pub fn flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|f| (*f).to_owned()));
    }

    /// From its next start the operator is without this flag.
    pub fn take_flag(&mut self, flag: &str) {
        self.flags.retain(|f| f != flag);
    }

    /// Kills the operator and starts it with other flags.
    pub async fn restart_with(&mut self, flags: &[&str]) {
        self.flags(flags);
        self.start().await;
    }

    /// Kills the operator and starts it without a flag.
    pub async fn drop_flag(&mut self, flag: &str) {
        self.take_flag(flag);
        self.start().await;
    }

    pub fn aws(&self) -> &'static Aws {
        &world().aws
    }

    pub fn api(&self) -> Api<RepoFanout> {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    pub fn classes(&self) -> Api<RepoFanoutClass> {
        Api::all(self.client.clone())
    }

    /// Name of a class of this case.
    pub fn class_name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.namespace)
    }

    /// Creates a class of this case's operator, or changes its spec; tells what the API server
    /// complains of.
    pub async fn apply_class(
        &self,
        name: &str,
        mut spec: Value,
        default: bool,
    ) -> Result<RepoFanoutClass, String> {
        spec["controller"] = json!(
            self.flags
                .iter()
                .find_map(|f| f.strip_prefix("--controller-name="))
        );
        let object = json!({
            "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanoutClass",
            "metadata": {"name": name, "annotations": {"repofanout.dev/is-default-class": default.to_string()}}, "spec": spec,
        });
        let params = PatchParams {
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..PatchParams::apply("test").force()
        };
        self.classes()
            .patch(name, &params, &Patch::Apply(&object))
            .await
            .map_err(|e| e.to_string())
    }

    /// Waits until the class's status satisfies; fails with the status.
    pub async fn wait_class(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&RepoFanoutClassStatus) -> bool,
    ) -> RepoFanoutClassStatus {
        let asked = until(LIMIT, || async {
            let class = self.classes().get(name).await.map_err(|e| e.to_string())?;
            let current = class.metadata.generation;
            let status = class.status.unwrap_or_default();
            if status.observed_generation == current && holds(&status) {
                return Ok(status);
            }
            Err(format!(
                "{what}; the status is {}",
                serde_json::to_string_pretty(&status).unwrap_or_default()
            ))
        });
        asked
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.log()))
    }

    /// A class of the case that is ready: applied, and its connection to `acme` authorized.
    pub async fn ready_class(&self, name: &str, spec: Value) -> RepoFanoutClassStatus {
        self.apply_class(name, spec, false).await.expect("accepted");
        self.authorize_class(name, "acme").await;
        self.wait_class(name, "not ready", |s| {
            class_condition(s, "Ready").is_some_and(|c| c.0 == "True")
        })
        .await
    }

    /// A role of another account that lets this case's account in, with an external id; tells its
    /// ARN.
    pub async fn trusting_role(&self, account: &str, external_id: &str) -> String {
        let trust = json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{}:root", self.account)},
            "Action": ["sts:AssumeRole", "sts:TagSession"],
            "Condition": {"StringEquals": {"sts:ExternalId": external_id}},
        }]});
        let create = [
            ("Action", "CreateRole"),
            ("Version", "2010-05-08"),
            ("RoleName", "fanout"),
            ("AssumeRolePolicyDocument", &*trust.to_string()),
        ];
        self.aws()
            .form(account, REGION, "iam", &create)
            .await
            .expect("a role");
        format!("arn:aws:iam::{account}:role/fanout")
    }

    /// Another account of this case.
    pub fn other_account(&self, digit: u8) -> String {
        format!("{digit}{}", &self.account[1..])
    }

    /// Waits for the class's connection, and authorizes it as a person would.
    pub async fn authorize_class(&self, name: &str, connection: &str) -> String {
        let status = self
            .wait_class(name, "no connection", |s| {
                s.connections
                    .get(connection)
                    .is_some_and(|c| c.status.as_deref() == Some("PENDING"))
            })
            .await;
        let arn = status.connections[connection].arn.clone().expect("an ARN");
        self.aws().authorize(&arn).expect("a connection");
        arn
    }

    pub async fn delete_class(&self, name: &str) {
        self.classes()
            .delete(name, &DeleteParams::default())
            .await
            .expect("a deletion");
    }

    pub async fn wait_class_gone(&self, name: &str) {
        let asked = until(LIMIT, || async {
            match self
                .classes()
                .get_opt(name)
                .await
                .map_err(|e| e.to_string())?
            {
                None => Ok(()),
                Some(class) => Err(format!(
                    "it is still there: {:?}",
                    class.status.unwrap_or_default().conditions
                )),
            }
        });
        asked
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.log()));
    }

    /// Creates a `RepoFanout`, or changes its spec; tells what the API server complains of.
    pub async fn apply(&self, name: &str, spec: Value) -> Result<RepoFanout, String> {
        self.apply_annotated(name, spec, json!({})).await
    }

    pub async fn apply_annotated(
        &self,
        name: &str,
        spec: Value,
        annotations: Value,
    ) -> Result<RepoFanout, String> {
        let object = json!({
            "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanout",
            "metadata": {"name": name, "namespace": self.namespace, "annotations": annotations}, "spec": spec,
        });
        let params = PatchParams {
            field_validation: Some(kube::api::ValidationDirective::Strict),
            ..PatchParams::apply("test").force()
        };
        self.api()
            .patch(name, &params, &Patch::Apply(&object))
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

    /// Waits until the status satisfies; fails with the last complaint and the status.
    pub async fn wait(
        &self,
        name: &str,
        what: &str,
        holds: impl Fn(&RepoFanoutStatus) -> bool,
    ) -> RepoFanoutStatus {
        let asked = until(LIMIT, || async {
            let object = self.api().get(name).await.map_err(|e| e.to_string())?;
            let current = object.metadata.generation;
            let status = object.status.unwrap_or_default();
            let fresh = status.observed_generation == current;
            if fresh && holds(&status) {
                return Ok(status);
            }
            Err(format!(
                "{what}; the status is {}",
                serde_json::to_string_pretty(&status).unwrap_or_default()
            ))
        });
        asked
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.log()))
    }

    pub async fn wait_condition(
        &self,
        name: &str,
        type_: &str,
        state: &str,
        reason: &str,
    ) -> RepoFanoutStatus {
        self.wait(name, &format!("{type_} is not {state}/{reason}"), |s| {
            condition(s, type_).is_some_and(|c| c == (state.to_owned(), reason.to_owned()))
        })
        .await
    }

    /// Waits until a commit is in the bucket.
    pub async fn wait_delivered(&self, name: &str, commit: &str) -> RepoFanoutStatus {
        self.wait(name, &format!("{commit} is not delivered"), |s| {
            let delivered = s.delivered.as_ref().and_then(|d| d.commit.as_ref());
            delivered.is_some_and(|c| c.id == commit)
                && condition(s, "Ready").is_some_and(|c| c.0 == "True")
        })
        .await
    }

    /// Waits for the object's own connection, and authorizes it as a person would.
    ///
    /// The first execution is held until the notification rule stands: one that ends
    /// before is run once more, which is right, and a count that depends on time.
    pub async fn authorize(&self, name: &str) -> String {
        let status = self
            .wait_condition(name, "Ready", "False", "ConnectionPending")
            .await;
        let base = base_name(&status);
        let arn = status.connection.and_then(|c| c.arn).expect("an ARN");
        self.aws().hold_executions(&self.account, true);
        self.aws().authorize(&arn).expect("a connection");
        let watched = until(LIMIT, || async {
            let rules = self.aws().rules(&self.account);
            let found = rules.iter().any(|r| r.resource.ends_with(&base));
            if found {
                Ok(())
            } else {
                Err("no notification rule")
            }
            .map_err(str::to_owned)
        });
        watched
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.log()));
        self.aws().hold_executions(&self.account, false);
        arn
    }

    /// A repository with one commit on `main`; tells its name and the commit.
    pub async fn repository(&self) -> (String, String) {
        let repository = format!("acme/{}", self.namespace);
        world()
            .repositories
            .create(&repository)
            .await
            .expect("a repository");
        let commit = self.push(&repository, "main", "README.md", "hello\n").await;
        (repository, commit)
    }

    pub async fn push(&self, repository: &str, branch: &str, file: &str, content: &str) -> String {
        let message = format!("Write {file}");
        world()
            .repositories
            .push(repository, branch, &[(file, Some(content))], &message)
            .await
            .expect("a push")
    }

    /// A fan-out of a new repository that has delivered; tells the repository.
    pub async fn delivered(&self, name: &str) -> String {
        let (repository, commit) = self.repository().await;
        self.apply(name, json!({"repository": repository}))
            .await
            .expect("accepted");
        self.authorize(name).await;
        self.wait_delivered(name, &commit).await;
        repository
    }

    pub async fn delete(&self, name: &str) {
        self.api()
            .delete(name, &DeleteParams::default())
            .await
            .expect("a deletion");
    }

    pub async fn wait_gone(&self, name: &str) {
        let asked = until(LIMIT, || async {
            match self.api().get_opt(name).await.map_err(|e| e.to_string())? {
                None => Ok(()),
                Some(object) => Err(format!(
                    "it is still there: {:?}",
                    object.status.unwrap_or_default().conditions
                )),
            }
        });
        asked
            .await
            .unwrap_or_else(|e| panic!("{name}: {e}\n{}", self.log()));
    }

    /// Content of an object in the destination, if there.
    pub async fn file(&self, status: &RepoFanoutStatus, path: &str) -> Option<String> {
        let delivered = status.delivered.as_ref().expect("something delivered");
        let path = format!("/{}/{}/{path}", delivered.bucket, delivered.prefix);
        self.aws()
            .s3(&self.account, REGION, "GET", &path, "")
            .await
            .ok()
    }

    /// A bucket of somebody else's in the account, without tags.
    pub async fn bucket(&self, name: &str) {
        let place = format!(
            "<CreateBucketConfiguration \
                 xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"><LocationConstraint>{REGION}</LocationConstraint></CreateBucketConfiguration>"
        );
        self.aws()
            .s3(&self.account, REGION, "PUT", &format!("/{name}"), &place)
            .await
            .expect("a bucket");
    }

    /// How often each operation that writes was called so far.
    pub fn writes(&self) -> Vec<String> {
        self.aws()
            .calls(&self.account)
            .into_iter()
            .filter(|c| c.write)
            .map(|c| c.operation)
            .collect()
    }

    /// Reasons and notes of the events of an object.
    pub async fn events(&self, name: &str) -> Vec<(String, String)> {
        let api: Api<Event> = Api::namespaced(self.client.clone(), &self.namespace);
        let events = api.list(&ListParams::default()).await.expect("events");
        let of = events
            .into_iter()
            .filter(|e| e.regarding.as_ref().and_then(|r| r.name.as_deref()) == Some(name));
        of.map(|e| {
            (
                e.reason.clone().unwrap_or_default(),
                e.note.unwrap_or_default(),
            )
        })
        .collect()
    }

    /// Waits for an event of the object: it follows the status that it tells of.
    pub async fn wait_event(&self, name: &str, reason: &str, text: &str) {
        let told = async || {
            let events = self.events(name).await;
            let found = events
                .iter()
                .any(|(r, note)| r == reason && note.contains(text));
            found
                .then_some(())
                .ok_or_else(|| format!("no event {reason} with '{text}': {events:?}"))
        };
        until(LIMIT, told)
            .await
            .unwrap_or_else(|error| panic!("{error}\n{}", self.log()));
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

impl Drop for Case {
    fn drop(&mut self) {
        // Every request that reached the stand-in has to be one that AWS would take.
        let violations = self.aws().violations(&self.account);
        if !std::thread::panicking() {
            assert!(
                violations.is_empty(),
                "requests that AWS would not take: {violations:?}"
            );
        }
    }
}

/// Status and reason of a class's condition.
pub fn class_condition(status: &RepoFanoutClassStatus, type_: &str) -> Option<(String, String)> {
    let condition = status.conditions.iter().find(|c| c.type_ == type_)?;
    Some((condition.status.clone(), condition.reason.clone()))
}

/// Status and reason of a condition.
pub fn condition(status: &RepoFanoutStatus, type_: &str) -> Option<(String, String)> {
    let condition = status.conditions.iter().find(|c| c.type_ == type_)?;
    Some((condition.status.clone(), condition.reason.clone()))
}

/// Message of a condition.
pub fn message(status: &RepoFanoutStatus, type_: &str) -> String {
    status
        .conditions
        .iter()
        .find(|c| c.type_ == type_)
        .map(|c| c.message.clone())
        .unwrap_or_default()
}

/// Name of the pipeline, as recorded.
pub fn base_name(status: &RepoFanoutStatus) -> String {
    status
        .placement
        .as_ref()
        .expect("a placement")
        .base_name
        .clone()
}

/// The object's version: it changes with every write.
pub fn version(object: &RepoFanout) -> String {
    object.resource_version().expect("a version")
}
