//! Before the operator may write: `check` says what is missing, `plan` what would be written, and
//! an operator with `--read-only` only reports.

use std::process::Command;

use repofanout::resource::iam::policy;
use serde_json::{Value, json};

use crate::case::{Case, REGION, assert_message, condition, world};
use crate::permissions::scope;

/// Runs a command of the operator as its ServiceAccount; answers whether it succeeded, and what it
/// printed.
pub async fn run_command(
    case: &Case,
    arguments: &[&str],
    manifest: Option<&str>,
) -> (bool, String) {
    let user = format!("system:serviceaccount:{}:repofanout", case.namespace);
    let kubeconfig = world()
        .cluster
        .kubeconfig_as(&format!("{}-run", case.namespace), &user)
        .unwrap();
    let mut command = Command::new(&case.program);
    command
        .args(arguments)
        .env_clear()
        .env("KUBECONFIG", kubeconfig)
        .env("AWS_REGION", REGION);
    for name in ["SSL_CERT_FILE", "SSL_CERT_DIR"] {
        command.envs(std::env::var_os(name).map(|v| (name, v)));
    }
    command
        .env(
            "AWS_ENDPOINT_URL",
            format!("http://{}", world().aws.address),
        )
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command
        .env("AWS_ACCESS_KEY_ID", &case.account)
        .env("AWS_SECRET_ACCESS_KEY", "secret");
    command
        .env("REPOFANOUT_WATCH_NAMESPACES", &case.namespace)
        .env("POD_NAMESPACE", &case.namespace);
    if let Some(manifest) = manifest {
        let file = world().logs.join(format!("{}.yaml", case.namespace));
        std::fs::write(&file, manifest).unwrap();
        command.args(["--file", &file.display().to_string()]);
    }
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap()
        .unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (
        output.status.success(),
        text(&output.stdout) + &text(&output.stderr),
    )
}

#[tokio::test]
async fn check_names_each_permission_that_is_missing_in_the_cluster() {
    let mut case = Case::without_operator("check", &[]).await;
    let whole = case.chart_rbac();
    case.grant(whole.clone()).await;
    let arguments = ["check", "--cluster-id=tests"];
    let (ok, printed) = run_command(&case, &arguments, None).await;
    assert!(ok && !printed.contains("MISSING"), "{printed}");
    // Without the permission for the objects' status, it reports that one thing and nothing else.
    let mut less = whole.clone();
    for role in less.iter_mut().filter(|o| o["kind"] == "ClusterRole") {
        let rules = role["rules"].as_array_mut().unwrap();
        rules.retain(|rule| rule["resources"] != json!(["repofanouts/status"]));
    }
    case.grant(less).await;
    let (ok, printed) = run_command(&case, &arguments, None).await;
    let missing: Vec<&str> = printed
        .lines()
        .filter(|l| l.starts_with("MISSING"))
        .collect();
    assert_eq!(missing.len(), 1, "{printed}");
    assert!(
        !ok && missing[0]
            .contains("permission to update repofanouts/status.repofanout.dev: not granted"),
        "{printed}"
    );
    assert!(printed.contains("one thing is missing"), "{printed}");
}

#[tokio::test]
async fn check_names_each_permission_that_is_missing_in_aws() {
    let mut case = Case::without_operator("check-aws", &[]).await;
    case.grant(case.chart_rbac()).await;
    let mut allowed = policy(&scope(&case.account));
    case.aws().enforce(&case.account, Some(allowed.clone()));
    let user = format!("--principal=arn:aws:iam::{}:user/operator", case.account);
    let arguments = [
        "check",
        "--cluster-id=tests",
        "--permissions-boundary=bound",
        &user,
    ];
    let (ok, printed) = run_command(&case, &arguments, None).await;
    // The caller has to be allowed to use IAM's own simulator.
    assert!(
        ok && printed.contains("unknown  AWS permissions: iam:SimulatePrincipalPolicy was refused"),
        "{printed}"
    );
    let simulate =
        json!({"Effect": "Allow", "Action": "iam:SimulatePrincipalPolicy", "Resource": "*"});
    allowed["Statement"].as_array_mut().unwrap().push(simulate);
    case.aws().enforce(&case.account, Some(allowed.clone()));
    let (ok, printed) = run_command(&case, &arguments, None).await;
    assert!(
        ok && !printed.contains("MISSING") && printed.contains("AWS permissions Roles: allowed"),
        "{printed}"
    );

    let statements = allowed["Statement"].as_array_mut().unwrap();
    let topics = statements
        .iter_mut()
        .find(|s| s["Sid"] == "Topics")
        .unwrap();
    topics["Action"]
        .as_array_mut()
        .unwrap()
        .retain(|a| a != "sns:DeleteTopic");
    case.aws().enforce(&case.account, Some(allowed));
    let (ok, printed) = run_command(&case, &arguments, None).await;
    let missing: Vec<&str> = printed
        .lines()
        .filter(|l| l.starts_with("MISSING"))
        .collect();
    assert!(!ok && missing.len() == 1, "{printed}");
    assert!(
        missing[0].contains("may not sns:DeleteTopic on")
            && missing[0].contains("statement Topics"),
        "{printed}"
    );
    let writes = case.writes();
    assert!(
        writes
            .iter()
            .all(|call| call == "iam:SimulatePrincipalPolicy"),
        "{writes:?}"
    );
}

fn manifest(case: &Case, name: &str, spec: &Value) -> String {
    json!({
        "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanout",
        "metadata": {"name": name, "namespace": case.namespace}, "spec": spec,
    })
    .to_string()
}

#[tokio::test]
async fn plan_shows_what_a_manifest_would_write_and_writes_nothing() {
    let case = Case::new("plan", &[]).await;
    let (repository, commit) = case.create_repository().await;
    let admin = async |manifest: String| {
        // The caller is a person who may write RepoFanouts, not the operator.
        let mut caller = case.in_namespace(&case.namespace);
        let binding = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "ClusterRoleBinding",
            "metadata": {"name": format!("{}-editor", case.namespace)},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "repofanout", "namespace": case.namespace}],
        });
        caller.grant(vec![binding]).await;
        run_command(&case, &["plan", "--cluster-id=tests"], Some(&manifest)).await
    };
    let spec = json!({"repository": repository});
    let (ok, printed) = admin(manifest(&case, "docs", &spec)).await;
    let lines: Vec<&str> = printed.lines().map(str::trim).collect();
    let is_created = |name: &str| lines.iter().any(|l| l.starts_with(&format!("+ {name} ")));
    for what in [
        "artifacts",
        "destination",
        "connection",
        "topic",
        "role",
        "pipeline",
        "notification rule",
    ] {
        assert!(ok && is_created(what), "{what}: {printed}");
    }
    assert!(
        lines.contains(&"once a person has authorized the connection:"),
        "{printed}"
    );
    assert!(case.writes().is_empty() && case.api().get_opt("docs").await.unwrap().is_none());

    // Once the manifest is applied and delivered, the plan is empty; a changed manifest shows what
    // differs, and what follows.
    case.apply("docs", spec).await.unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    let writes = case.writes();
    let (ok, printed) = admin(manifest(&case, "docs", &json!({"repository": repository}))).await;
    assert!(ok && printed.contains("nothing to write"), "{printed}");
    let changed =
        json!({"repository": repository, "branch": "next", "notifications": {"detail": "FULL"}});
    let (ok, printed) = admin(manifest(&case, "docs", &changed)).await;
    assert!(
        ok && printed.contains("BranchName: main -> next") && printed.contains("BASIC -> FULL"),
        "{printed}"
    );
    assert!(
        printed.contains("> an execution of the pipeline"),
        "{printed}"
    );
    // What the schema or the operator's settings would refuse is refused here, too.
    let (ok, printed) = admin(manifest(&case, "docs", &json!({"repository": "no slash"}))).await;
    assert!(!ok && printed.contains("spec.repository"), "{printed}");
    let (ok, printed) = admin(manifest(
        &case,
        "docs",
        &json!({"repository": repository, "name": "chosen"}),
    ))
    .await;
    assert!(!ok && printed.contains("immutable"), "{printed}");
    let (ok, printed) = admin(manifest(
        &case,
        "other",
        &json!({"repository": repository, "name": "chosen"}),
    ))
    .await;
    assert!(!ok && printed.contains("! NotAllowed: name"), "{printed}");
    assert_eq!(case.writes(), writes);
}

#[tokio::test]
async fn a_read_only_operator_tells_what_it_would_do() {
    let mut case = Case::without_operator("readonly", &["--read-only"]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.start().await;
    let status = case
        .wait_condition("docs", "Ready", "False", "ReadOnly")
        .await;
    assert_message(
        &status,
        "Ready",
        "create artifacts; create destination; create connection",
    );
    assert_eq!(case.writes(), Vec::<String>::new());
    // No resource was created, so nothing holds the deletion.
    case.apply("gone", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait_condition("gone", "Ready", "False", "ReadOnly")
        .await;
    case.delete("gone").await;
    case.wait_gone("gone").await;

    // An operator that may write is followed by one that may not: it shows what differs, and
    // deletes nothing.
    case.restart_without("--read-only").await;
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    case.restart_with(&["--read-only"]).await;
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "1")
        .await;
    let well = case
        .wait("docs", "the reconcile is not acknowledged", |s| {
            s.last_handled_reconcile_at.as_deref() == Some("1")
        })
        .await;
    assert_eq!(condition(&well, "Ready").unwrap().status, "True");
    let writes = case.writes();
    case.apply("docs", json!({"repository": repository, "branch": "next"}))
        .await
        .unwrap();
    let status = case
        .wait_condition("docs", "Ready", "False", "ReadOnly")
        .await;
    assert_message(&status, "Ready", "update pipeline: ");
    assert_message(&status, "Ready", "'next'");
    case.delete("docs").await;
    let held = case
        .wait_condition("docs", "Stalled", "True", "DeletionBlocked")
        .await;
    assert_message(&held, "Stalled", "runs with --read-only");
    assert_eq!(case.writes(), writes);
    case.restart_without("--read-only").await;
    case.wait_gone("docs").await;
}

#[test]
fn the_policies_are_printed_one_by_one_as_aws_takes_them() {
    let print = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_repofanout"));
        let output = command
            .arg("iam-policy")
            .args(arguments)
            .env_clear()
            .output()
            .unwrap();
        let printed: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        (
            output.status.success(),
            printed,
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    };
    let account = "--account=111122223333";
    let (_, both, _) = print(&[account, "--prefix=x-", "--region=eu-west-1"]);
    assert_eq!(
        both.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["boundary", "operator"]
    );
    let (_, operator, _) = print(&[
        account,
        "--prefix=x-",
        "--region=eu-west-1",
        "--only=operator",
    ]);
    assert_eq!(operator, both["operator"]);
    // A managed policy has at most 6,144 characters, white space aside.
    // <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
    for document in [&both["operator"], &both["boundary"]] {
        let length = document.to_string().len();
        assert!(length <= 6144, "{length} characters");
    }
    let (_, guard, _) = print(&[
        account,
        "--guard=arn:aws:iam::111122223333:role/op",
        "--only=guard",
    ]);
    assert!(guard.to_string().contains("aws:TagKeys"), "{guard}");
    let (ok, _, printed) = print(&[account, "--only=guard"]);
    assert!(!ok && printed.contains("give --guard"), "{printed}");
}
