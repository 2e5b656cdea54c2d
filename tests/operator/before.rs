//! Before the operator may write: `check` says what is missing, `plan` what would be written, and
//! an operator with `--read-only` only reports.

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::process::Command;

use repofanout::commands::iam_policy::policy;
use repofanout::domain::policy_document::texts;
use repofanout::resource::scope::Scope;
use serde_json::{Value, json};

use crate::case::{Case, REGION, assert_message, condition, world};
use crate::permissions::{create_boundary, scope};

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
    let create = |document: &str| {
        let document = document.to_owned();
        let create = [("Action", "CreatePolicy"), ("PolicyName", "bound")];
        let case = &case;
        async move {
            let document = [("PolicyDocument", &*document)];
            case.iam(&[&create[..], &document].concat()).await.unwrap();
        }
    };
    case.aws().enforce(&case.account, vec![allowed.clone()]);
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
    let mut may = vec!["iam:SimulatePrincipalPolicy"];
    let with = |may: &[&str]| {
        let mut allowed = allowed.clone();
        let look = json!({"Effect": "Allow", "Action": may, "Resource": "*"});
        allowed["Statement"].as_array_mut().unwrap().push(look);
        vec![allowed]
    };
    case.aws().enforce(&case.account, with(&may));
    let (ok, printed) = run_command(&case, &arguments, None).await;
    assert!(
        ok && !printed.contains("MISSING") && printed.contains("AWS permissions Roles: allowed"),
        "{printed}"
    );
    let boundary = format!(
        "AWS permissions boundary arn:aws:iam::{}:policy/bound: ",
        case.account
    );
    assert!(
        printed.contains(&format!("unknown  {boundary}iam:GetPolicy was refused")),
        "{printed}"
    );

    // The boundary has to exist, and to allow what pipelines do.
    may.extend([
        "iam:GetPolicy",
        "iam:GetPolicyVersion",
        "iam:SimulateCustomPolicy",
    ]);
    case.aws().enforce(&case.account, with(&may));
    let (ok, printed) = run_command(&case, &arguments, None).await;
    let absent = format!("MISSING  {boundary}there is no such policy");
    assert!(!ok && printed.contains(&absent), "{printed}");
    create(r#"{"Version":"2012-10-17","Statement":[{"Effect":"Allow","Action":["s3:Get*","kms:*","code*:UseConnection"],"Resource":"*"}]}"#).await;
    let (ok, printed) = run_command(&case, &arguments, None).await;
    let narrow = format!("MISSING  {boundary}it does not allow the roles of pipelines to");
    assert!(!ok && printed.contains(&narrow), "{printed}");
    let missing = printed.lines().find(|l| l.contains(&narrow)).unwrap();
    assert!(
        missing.contains("s3:PutObject") && !missing.contains("s3:GetObject,"),
        "{missing}"
    );
    let arn = format!("arn:aws:iam::{}:policy/bound", case.account);
    let delete = [("Action", "DeletePolicy"), ("PolicyArn", &*arn)];
    case.iam(&delete).await.unwrap();
    create_boundary(&case).await;
    let (ok, printed) = run_command(&case, &arguments, None).await;
    let well = format!("ok       {boundary}exists");
    assert!(ok && printed.contains(&well), "{printed}");

    // What the organization or the principal's own boundary denies is not missing in its policy.
    let except = |action: &str| {
        json!({"Statement": [
            {"Effect": "Allow", "Action": "*", "Resource": "*"},
            {"Effect": "Deny", "Action": action, "Resource": "*"}]})
    };
    case.aws().limit(
        &case.account,
        &[
            ("service control policy", except("sns:CreateTopic")),
            ("permissions boundary", except("iam:DeleteRole")),
        ],
    );
    let (ok, printed) = run_command(&case, &arguments, None).await;
    for words in [
        "a service control policy of the AWS organization denies sns:CreateTopic on",
        "denies iam:DeleteRole on",
    ] {
        assert!(!ok && printed.contains(words), "{words}: {printed}");
    }
    case.aws().limit(&case.account, &[]);

    allowed = with(&may).remove(0);
    let statements = allowed["Statement"].as_array_mut().unwrap();
    let topics = statements
        .iter_mut()
        .find(|s| s["Sid"] == "Topics")
        .unwrap();
    topics["Action"]
        .as_array_mut()
        .unwrap()
        .retain(|a| a != "sns:DeleteTopic");
    case.aws().enforce(&case.account, vec![allowed]);
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
    let ours = ["iam:CreatePolicy", "iam:DeletePolicy"];
    let mut writes = case.writes();
    writes.retain(|call| !call.starts_with("iam:Simulate") && !ours.contains(&&**call));
    assert_eq!(writes, Vec::<String>::new());
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
        let mut caller = case.in_namespace(&case.namespace);
        caller.grant_everything().await;
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

/// The output of `iam-policy` with these arguments, or its message.
fn print_policies(arguments: &[impl AsRef<OsStr>]) -> Result<Value, String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_repofanout"));
    let output = command
        .args(["iam-policy", "--account=111122223333"])
        .args(arguments)
        .env_clear()
        .output()
        .unwrap();
    match output.status.success() {
        true => Ok(serde_json::from_slice(&output.stdout).unwrap()),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

#[test]
fn the_policies_are_printed_one_by_one_as_aws_takes_them() {
    let both = print_policies(&["--prefix=x-", "--region=eu-west-1"]).unwrap();
    assert_eq!(
        both.as_object().unwrap().keys().collect::<Vec<_>>(),
        ["boundary", "operator"]
    );
    let operator =
        print_policies(&["--prefix=x-", "--region=eu-west-1", "--only=operator"]).unwrap();
    assert_eq!(operator, both["operator"]);
    let guard = "--guard=arn:aws:iam::111122223333:role/op";
    let guard = print_policies(&[guard, "--only=guard"]).unwrap();
    assert!(guard.to_string().contains("aws:TagKeys"), "{guard}");
    let refused = print_policies(&["--only=guard"]).unwrap_err();
    assert!(refused.contains("give --guard"), "{refused}");
    let refused = print_policies(&["--only=operator-2"]).unwrap_err();
    assert!(refused.contains("the documents are operator"), "{refused}");
}

/// A managed policy has at most 6,144 characters, white space aside, and a role ten of them.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
#[test]
fn the_policies_fit_into_what_aws_takes_however_many_pipelines_exist() {
    // The flags that `import` prints for pipelines that were made by hand.
    let existing = |n: usize| -> Vec<String> {
        let of = |i: usize| {
            [
                format!("arn:aws:codepipeline:eu-west-1:111122223333:team-site-{i}"),
                format!("arn:aws:iam::111122223333:role/service-role/team-site-{i}"),
                format!("arn:aws:s3:::team-site-{i}-artifacts"),
                format!("arn:aws:s3:::team-site-{i}-files"),
                format!("arn:aws:sns:eu-west-1:111122223333:team-site-{i}"),
            ]
        };
        (0..n).flat_map(of).collect()
    };
    let size = |document: &Value| document.to_string().chars().count();
    let granted = |documents: &[Value]| -> BTreeSet<String> {
        let statements = documents.iter().filter_map(|d| d["Statement"].as_array());
        let of = |s: &Value| {
            let (actions, condition) = (texts(&s["Action"]), s["Condition"].to_string());
            let of = move |resource: String| {
                let grant = |action: &String| format!("{action} {resource} {condition}");
                actions.iter().map(grant).collect::<Vec<_>>()
            };
            texts(&s["Resource"])
                .into_iter()
                .flat_map(of)
                .collect::<Vec<_>>()
        };
        statements.flatten().flat_map(of).collect()
    };
    for n in [0, 1, 2, 10, 100] {
        let allowed = existing(n);
        let flags = allowed.iter().map(|arn| format!("--allow-existing={arn}"));
        let mut arguments: Vec<String> = flags.collect();
        arguments.extend(["--allow-prune", "--region=eu-west-1"].map(str::to_owned));
        let whole = policy(&Scope {
            allow_existing: allowed.clone(),
            boundaries: vec!["repofanout-boundary".to_owned()],
            ..scope("111122223333")
        });
        match print_policies(&arguments) {
            Ok(printed) => {
                let mut documents = printed.as_object().unwrap().clone();
                let boundary = size(&documents.remove("boundary").unwrap());
                let documents: Vec<Value> = documents.into_values().collect();
                let sizes: Vec<usize> = documents.iter().map(size).collect();
                println!("{n} existing pipelines: operator {sizes:?}, boundary [{boundary}]");
                assert!(sizes.iter().all(|size| *size <= 6_144) && boundary <= 6_144);
                assert!(sizes.len() <= 10 && n <= 10);
                // Nothing is lost and nothing is added by dividing.
                assert_eq!(granted(&documents), granted(&[whole]));
                for document in &documents {
                    let statements = document["Statement"].as_array().unwrap();
                    let sids: BTreeSet<&str> = statements
                        .iter()
                        .filter_map(|s| s["Sid"].as_str())
                        .collect();
                    assert_eq!(sids.len(), statements.len(), "{document}");
                }
            }
            Err(refused) => {
                println!("{n} existing pipelines: {refused}");
                assert!(n == 100 && refused.contains("--fold"), "{n}: {refused}");
                assert!(refused.contains(&(5 * n).to_string()), "{refused}");
            }
        }
        arguments.push("--only=boundary".to_owned());
        if n == 100 {
            let refused = print_policies(&arguments).unwrap_err();
            assert!(refused.contains("names 200 buckets"), "{refused}");
        }
        // Whoever reads it agrees to patterns.
        arguments.pop();
        arguments.push("--fold".to_owned());
        let folded = print_policies(&arguments).unwrap();
        for (name, document) in folded.as_object().unwrap() {
            println!(
                "{n} existing pipelines, folded: {name} [{}]",
                size(document)
            );
            assert!(size(document) <= 6_144);
        }
        let text = folded.to_string();
        let pattern = "arn:aws:codepipeline:eu-west-1:111122223333:team-site-*";
        assert_eq!(text.contains(pattern), n > 1, "{text}");
    }
}
