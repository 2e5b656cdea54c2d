//! The process itself: how it starts, and how it exits.

use std::process::Command;

use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use serde_json::json;
use support::until;

use crate::case::{Case, LIMIT, world};

fn run(configure: impl FnOnce(&mut Command)) -> (bool, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_repofanout"));
    command
        .args(["run", "--cluster-id=x"])
        .env_clear()
        .env("KUBECONFIG", &world().cluster.kubeconfig);
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.envs(std::env::var_os(name).map(|v| (name, v)));
    }
    command
        .env("AWS_EC2_METADATA_DISABLED", "true")
        .env("HOME", "/nonexistent");
    configure(&mut command);
    let output = command.output().expect("the operator");
    (
        output.status.success(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

fn last_line(text: &str) -> &str {
    text.lines().last().unwrap_or_default()
}

#[test]
fn without_credentials_it_says_so_in_one_line() {
    let endpoint = format!("http://{}", world().aws.address);
    let (ok, printed) = run(|c| {
        c.env("AWS_REGION", "eu-west-1")
            .env("AWS_ENDPOINT_URL", endpoint);
    });
    assert!(!ok);
    assert!(
        last_line(&printed)
            .starts_with("repofanout: AWS does not accept the operator's credentials"),
        "{printed}"
    );
}

#[test]
fn without_a_region_it_says_so_in_one_line() {
    let (ok, printed) = run(|c| {
        c.env("AWS_ACCESS_KEY_ID", "111122223333")
            .env("AWS_SECRET_ACCESS_KEY", "x");
    });
    assert!(!ok);
    assert!(
        last_line(&printed).contains("give --region, or set AWS_REGION"),
        "{printed}"
    );
}

#[test]
fn without_a_cluster_it_says_so_in_one_line() {
    let (ok, printed) = run(|c| {
        c.env("KUBECONFIG", "/nonexistent/kubeconfig");
    });
    assert!(!ok);
    assert!(last_line(&printed).contains("set KUBECONFIG"), "{printed}");
}

#[tokio::test]
async fn asked_to_end_it_gives_the_lease_back_and_exits_well() {
    let mut case = Case::new("ends", &[]).await;
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    let leases: Api<Lease> = Api::namespaced(case.client.clone(), &case.namespace);
    let holder = |lease: Lease| {
        lease
            .spec
            .and_then(|s| s.holder_identity)
            .filter(|h| !h.is_empty())
    };
    assert!(holder(leases.get("repofanout").await.unwrap()).is_some());
    let ended = case.operator.take().unwrap().stop().await.unwrap();
    assert!(ended.success(), "{ended}");
    assert_eq!(holder(leases.get("repofanout").await.unwrap()), None);
    // The next leader does not have to wait until the Lease expires.
    case.start().await;
    case.reconcile("docs", "1").await;
}

#[tokio::test]
async fn without_the_crd_it_waits_and_then_serves() {
    let world = support::World::start(|_| ()).await.unwrap();
    let port = support::free_port().unwrap();
    let listen = format!("--listen=127.0.0.1:{port}");
    let config = support::OperatorConfig {
        account: "111122223333".to_owned(),
        region: "eu-west-1".to_owned(),
        namespace: "default".to_owned(),
        flags: ["--cluster-id=x", "--poll-interval=300ms", &listen]
            .map(str::to_owned)
            .into(),
        kubeconfig: None,
    };
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_repofanout"));
    let operator = support::Operator::start(&world, program, &config).unwrap();
    let log = operator.log.clone();
    let read = || std::fs::read_to_string(&log).unwrap_or_default();
    let readyz = async |status: u16, words: &str| {
        until(LIMIT, || async {
            match support::get(port, "/readyz").await {
                Ok((found, text)) if found == status && text.contains(words) => Ok(()),
                other => Err(format!("{other:?}: {}", read())),
            }
        })
        .await
        .unwrap();
    };
    readyz(503, "apply what `repofanout crd` prints").await;
    world.install_crds().await.unwrap();
    readyz(200, "ok").await;
    let manifest = "apiVersion: repofanout.dev/v1alpha1\nkind: RepoFanout\nmetadata: {name: docs}\nspec: {repository: acme/none}\n";
    world.cluster.apply(manifest).await.unwrap();
    let path = r#"jsonpath={.status.conditions[?(@.type=="Ready")].reason}"#;
    let reason = async |name: &str, wanted: &str| {
        until(LIMIT, || async {
            match world
                .cluster
                .kubectl(&["get", "rf", name, "-o", path])
                .await?
                .as_str()
            {
                found if found == wanted => Ok(()),
                other => Err(format!("{name}: '{other}': {}", read())),
            }
        })
        .await
        .unwrap();
    };
    reason("docs", "ConnectionPending").await;

    // A schema that is older than the program stops it, as after a rollback; a newer one does not,
    // as during an upgrade.
    let schema = async |number: &str| {
        let annotation = format!("repofanout.dev/schema={number}");
        let crd = "crd/repofanouts.repofanout.dev";
        world
            .cluster
            .kubectl(&["annotate", "--overwrite", crd, &annotation])
            .await
            .unwrap();
    };
    schema("0").await;
    let needs = repofanout::api::SCHEMA;
    readyz(
        503,
        &format!("has schema 0, and this version needs {needs} or newer; nothing is written"),
    )
    .await;
    let writes = || {
        world
            .aws
            .calls("111122223333")
            .iter()
            .filter(|c| c.write)
            .count()
    };
    let before = writes();
    world
        .cluster
        .apply(&manifest.replace("docs", "later"))
        .await
        .unwrap();
    let get = [
        "get",
        "rf",
        "later",
        "-o",
        "jsonpath={.status}{.metadata.finalizers}",
    ];
    assert_eq!(world.cluster.kubectl(&get).await.unwrap(), "");
    schema("9").await;
    readyz(200, "ok").await;
    reason("later", "ConnectionPending").await;
    assert!(writes() > before);

    // Two installations that serve all namespaces share the cluster by their classes.
    let (mut first, mut second) = (config.clone(), config.clone());
    drop(operator);
    for (installation, account, name) in [
        (&mut first, "111122223333", "repofanout"),
        (&mut second, "444455556666", "second"),
    ] {
        installation.account = account.to_owned();
        installation.namespace = support::ALL.to_owned();
        installation.flags = ["--cluster-id=x", "--poll-interval=300ms"]
            .map(str::to_owned)
            .into();
        installation.flags.push(format!("--controller-name={name}"));
    }
    let _first = support::Operator::start(&world, program, &first).unwrap();
    let _second = support::Operator::start(&world, program, &second).unwrap();
    let class = "apiVersion: repofanout.dev/v1alpha1\nkind: RepoFanoutClass\nmetadata: {name: theirs}\nspec: {controller: second, allowedNamespaces: {names: ['*']}, allowedRepositories: ['*']}\n";
    world.cluster.apply(class).await.unwrap();
    world
        .cluster
        .apply(&manifest.replace("docs", "plain"))
        .await
        .unwrap();
    world
        .cluster
        .apply(
            &manifest
                .replace("docs", "by-class")
                .replace("acme/none", "acme/none, className: theirs"),
        )
        .await
        .unwrap();
    reason("plain", "ConnectionPending").await;
    reason("by-class", "ConnectionPending").await;
    for (name, account) in [("plain", "111122223333"), ("by-class", "444455556666")] {
        let placed = [
            "get",
            "rf",
            name,
            "-o",
            "jsonpath={.status.placement.account}",
        ];
        assert_eq!(world.cluster.kubectl(&placed).await.unwrap(), account);
        let named = |c: &support::aws::SeenConnection| {
            c.tags.get("repofanout.dev/name").is_some_and(|n| n == name)
        };
        for account in ["111122223333", "444455556666"] {
            let found = world
                .aws
                .connections(account)
                .iter()
                .filter(|c| named(c))
                .count();
            let wanted = usize::from((name == "plain") == (account == "111122223333"));
            assert_eq!(found, wanted, "{name} in {account}");
        }
        // Each installation finishes the deletion of its own objects.
        world
            .cluster
            .kubectl(&["delete", "rf", name, "--timeout=60s"])
            .await
            .unwrap();
        assert!(!world.aws.connections(account).iter().any(named));
    }
}
