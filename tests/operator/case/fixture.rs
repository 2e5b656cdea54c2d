//! What a test starts from: a namespace, an account, flags, a repository, a class or a fan-out
//! that is ready.

use std::sync::atomic::{AtomicU32, Ordering};

use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use repofanout::api::class::RepoFanoutClassStatus;
use serde_json::{Value, json};

use super::{Case, is_true, present, world};

impl Case {
    /// A namespace, an account, and an operator with these flags.
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
        let mut case = Self {
            client: Client::try_from(config).expect("a client"),
            namespace: format!("{name}-{number}"),
            account: format!("4444{number:08}"),
            operator: None,
            program: present(),
            flags: Vec::new(),
            proxy: None,
            granted: Vec::new(),
        };
        case.create_namespace(&case.namespace, json!({})).await;
        case.add_flags(&["--cluster-id=tests", "--lease-duration=3s"]);
        case.add_flags(flags);
        if case.flag("--poll-interval").is_none() {
            case.add_flags(&["--poll-interval=300ms"]);
        }
        case
    }

    /// A namespace, an account, and an operator that serves only the classes of the case: those with
    /// the namespace as `controller`.
    pub async fn with_classes(name: &str, flags: &[&str]) -> Self {
        let mut case = Self::without_operator(name, flags).await;
        case.serve_own_classes();
        case.start().await;
        case
    }

    /// From its next start the operator serves classes of its own.
    pub fn serve_own_classes(&mut self) {
        let flag = format!("--controller-name={}", self.namespace);
        self.add_flags(&[&flag]);
    }

    /// Creates one more namespace, and starts the operator anew so that it serves that one, too.
    pub async fn add_namespace(&mut self, suffix: &str) -> String {
        let name = format!("{}-{suffix}", self.namespace);
        self.create_namespace(&name, json!({})).await;
        if self.flag("--watch-namespace").is_none() {
            let first = format!("--watch-namespace={}", self.namespace);
            self.add_flags(&[&first]);
        }
        self.restart_with(&[&format!("--watch-namespace={name}")])
            .await;
        name
    }

    /// The same case, as seen from another of its namespaces.
    pub fn in_namespace(&self, namespace: &str) -> Self {
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

    /// The rest of the first flag that begins so.
    pub fn flag(&self, name: &str) -> Option<&str> {
        self.flags.iter().find_map(|flag| flag.strip_prefix(name))
    }

    /// From its next start the operator has these flags, too.
    pub fn add_flags(&mut self, flags: &[&str]) {
        self.flags.extend(flags.iter().map(|f| (*f).to_owned()));
    }

    /// From its next start the operator does not have this flag.
    pub fn remove_flag(&mut self, flag: &str) {
        self.flags.retain(|f| f != flag);
    }

    /// Name of a class of this case.
    pub fn class_name(&self, suffix: &str) -> String {
        format!("{}-{suffix}", self.namespace)
    }

    /// Another account of this case.
    pub fn other_account(&self, digit: u8) -> String {
        format!("{digit}{}", &self.account[1..])
    }

    /// Creates a class, authorizes its connection to `acme`, and waits until the class is ready.
    pub async fn create_ready_class(&self, name: &str, spec: Value) -> RepoFanoutClassStatus {
        self.apply_class(name, spec, false).await.expect("accepted");
        self.authorize_class(name, "acme").await;
        self.wait_class(name, "not ready", |s| is_true(s, "Ready"))
            .await
    }

    /// Creates a repository with one commit on `main`; answers its name and the commit.
    pub async fn create_repository(&self) -> (String, String) {
        let repository = format!("acme/{}", self.namespace);
        world()
            .repositories
            .create(&repository)
            .await
            .expect("a repository");
        let commit = self.push(&repository, "main", "README.md", "hello\n").await;
        (repository, commit)
    }

    /// Commits and pushes one file; answers the commit.
    pub async fn push(&self, repository: &str, branch: &str, file: &str, content: &str) -> String {
        let message = format!("Write {file}");
        world()
            .repositories
            .push(repository, branch, &[(file, Some(content))], &message)
            .await
            .expect("a push")
    }

    /// Creates a fan-out of a new repository, and waits until it has delivered; answers the
    /// repository.
    pub async fn create_delivered(&self, name: &str) -> String {
        let (repository, commit) = self.create_repository().await;
        self.apply(name, json!({"repository": repository}))
            .await
            .expect("accepted");
        self.authorize(name).await;
        self.wait_delivered(name, &commit).await;
        repository
    }

    /// Creates a class and a fan-out on it, and waits until it has delivered; answers the names of
    /// the class and the repository.
    pub async fn create_class_and_fan_out(&self, spec: Value) -> (String, String) {
        let class = self.class_name("org");
        self.create_ready_class(&class, spec).await;
        let (repository, commit) = self.create_repository().await;
        self.apply(
            "docs",
            json!({"repository": repository, "className": class}),
        )
        .await
        .expect("accepted");
        self.wait_delivered("docs", &commit).await;
        (class, repository)
    }
}
