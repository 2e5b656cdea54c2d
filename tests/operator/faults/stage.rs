//! What the steps of a story work with.

use serde_json::{Value, json};

use crate::case::Case;
use crate::classes::shared_spec;

/// The case of one run, and what the steps of its story share.
pub struct Stage {
    pub case: Case,
    pub repository: String,
    /// The repository's first commit.
    pub commit: String,
    /// The spec of the fan-out `docs`, which is named so in every story.
    pub spec: Value,
    /// Name of a class, for stories that have one.
    pub class: String,
}

impl Stage {
    pub async fn new(name: &str) -> Self {
        let flags = [
            "--leader-elect=false",
            "--allow-names",
            "--allow-readers=*",
            "--allow-prune",
        ];
        let mut case = Case::without_operator(name, &flags).await;
        case.serve_own_classes();
        case.start_behind_proxy().await;
        let (repository, commit) = case.create_repository().await;
        let readers = json!([{"account": "777788889999"}]);
        Self {
            spec: json!({"repository": repository, "destination": {"readers": readers}}),
            class: case.class_name("org"),
            case,
            repository,
            commit,
        }
    }

    pub async fn apply(&self) {
        self.case.apply("docs", self.spec.clone()).await.unwrap();
    }

    /// Applies the fan-out, and waits until it has delivered; no fault strikes yet.
    pub async fn deliver(&self) {
        self.apply().await;
        self.case.authorize("docs").await;
        self.case.wait_delivered("docs", &self.commit).await;
    }

    pub async fn push(&self, branch: &str, file: &str, content: &str) -> String {
        self.case
            .push(&self.repository, branch, file, content)
            .await
    }

    /// A class that shares everything, and lets its fan-outs have readers.
    pub fn class_spec(&self) -> Value {
        let mut spec = shared_spec(&self.case);
        spec["allowedReaders"] = json!(["7777*"]);
        spec
    }
}
