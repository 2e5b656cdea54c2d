//! Killed, cut off or refused at every write to AWS, the operator converges: nothing
//! is there twice, nothing is left over.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures::StreamExt;
use serde_json::{Value, json};
use support::API;
use support::aws::{Effect, Fault, When};

use crate::case::{Case, LIMIT, is_true, world};

/// What an object goes through while the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Life {
    Create,
    /// A creation that takes a bucket and a topic over.
    Adopt,
    Update,
    Delete,
    /// A class that shares everything, and a fan-out on it.
    Class,
    /// Out of things of its own into a class.
    Move,
    /// A delivery that is subscribed to, pruned and announced.
    Serve,
}

/// What happens at the n-th call: of which account, n, and the operator's process id.
type Strike = fn(&str, u32, u32) -> Fault;

fn kill_before(whose: &str, n: u32, pid: u32) -> Fault {
    Fault::of_writes(whose, When::Nth(n), Effect::KillBefore(pid))
}

fn kill_after(whose: &str, n: u32, pid: u32) -> Fault {
    Fault::of_writes(whose, When::Nth(n), Effect::KillAfter(pid))
}

fn lose_the_reply(whose: &str, n: u32, _: u32) -> Fault {
    Fault::of_writes(whose, When::Nth(n), Effect::CutAfter)
}

fn away() -> Effect {
    Effect::Fail {
        status: 503,
        code: "ServiceUnavailable".to_owned(),
        message: "for a while".to_owned(),
    }
}

/// Longer than the SDK tries.
fn fail_for_a_while(whose: &str, n: u32, _: u32) -> Fault {
    Fault::of_writes(whose, When::Run(n, 4), away())
}

fn fail_to_read_for_a_while(whose: &str, n: u32, _: u32) -> Fault {
    Fault::of_reads(whose, When::Run(n, 4), away())
}

/// Between which two the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Side {
    /// Operator and AWS.
    Aws,
    /// Operator and API server.
    Kubernetes,
}

/// As many points as there are, four at a time; tells how many struck.
async fn at_every_write(side: Side, life: Life, name: &str, strike: Strike) -> usize {
    let mut tried = 0;
    let mut first = 1;
    loop {
        let points = futures::stream::iter(first..first + 4)
            .map(|n| survive(side, life, name, strike, n))
            .buffered(4);
        let struck = points
            .filter(|struck| std::future::ready(*struck))
            .count()
            .await;
        tried += struck;
        if struck < 4 {
            // Not by macro: the test harness would keep it to itself.
            let _ = writeln!(
                std::io::stderr(),
                "{side:?}, {life:?}, {name}: {tried} points tried, all passed"
            );
            return tried;
        }
        first += 4;
    }
}

/// One life with the fault at its n-th write; tells whether it came to that.
async fn survive(side: Side, life: Life, name: &str, strike: Strike, n: u32) -> bool {
    let mut case = Case::without_operator(
        &format!("{name}-{n}"),
        &["--leader-elect=false", "--allow-names", "--allow-readers=*"],
    )
    .await;
    case.add_flags(&["--allow-prune"]);
    case.serve_own_classes();
    case.start_behind_proxy().await;
    let class = case.class_name("org");
    let (repository, commit) = case.create_repository().await;
    let readers = json!([{"account": "777788889999"}]);
    let mut spec = json!({"repository": repository, "destination": {"readers": readers}});
    let mut class_spec = crate::classes::shared(&case);
    class_spec["allowedReaders"] = json!(["7777*"]);
    if life == Life::Adopt {
        let theirs = format!("theirs-{}", case.namespace);
        case.create_bucket(&theirs).await;
        case.create_topic(&theirs).await;
        spec["artifacts"] = json!({"bucketName": theirs});
        spec["notifications"] = json!({"topicName": theirs});
        spec["adopt"] = json!(["Artifacts", "Topic"]);
    }
    let struck: Arc<AtomicBool>;
    if life == Life::Class {
        struck = arm(side, &case, strike, n);
        case.apply_class(&class, class_spec, false).await.unwrap();
        spec["className"] = json!(class);
        case.apply("docs", spec.clone()).await.unwrap();
        live(&mut case, "delivered", &commit).await;
    } else if matches!(life, Life::Create | Life::Adopt) {
        struck = arm(side, &case, strike, n);
        case.apply("docs", spec.clone()).await.unwrap();
        live(&mut case, "delivered", &commit).await;
    } else {
        case.apply("docs", spec.clone()).await.unwrap();
        case.authorize("docs").await;
        case.wait_delivered("docs", &commit).await;
        if life == Life::Move {
            case.create_ready_class(&class, class_spec).await;
        }
        if life == Life::Serve {
            let commit = case.push(&repository, "main", "gone.txt", "gone\n").await;
            case.wait_delivered("docs", &commit).await;
        }
        struck = arm(side, &case, strike, n);
    }
    match life {
        Life::Create | Life::Adopt | Life::Class => {}
        Life::Move => {
            spec["className"] = json!(class);
            case.apply("docs", spec).await.unwrap();
            live(&mut case, "moved", &commit).await;
        }
        Life::Update => {
            let next = case.push(&repository, "next", "NEXT.md", "next\n").await;
            spec["branch"] = json!("next");
            spec["destination"]["prefix"] = json!("elsewhere");
            spec["notifications"] = json!({"detail": "FULL"});
            spec["tags"] = json!({"team": "docs"});
            case.apply("docs", spec).await.unwrap();
            live(&mut case, "delivered", &next).await;
        }
        Life::Serve => {
            let (url, arn) = case.create_queue(&format!("mine-{}", case.namespace)).await;
            let subscribers =
                json!([{"protocol": "sqs", "endpoint": arn, "rawMessageDelivery": true}]);
            spec["destination"]["prune"] = json!("Enabled");
            spec["notifications"] = json!({"announce": true, "subscribers": subscribers});
            case.apply("docs", spec).await.unwrap();
            let removal = [("gone.txt", None)];
            let last = world()
                .repositories
                .push(&repository, "main", &removal, "Remove")
                .await
                .unwrap();
            live(&mut case, "served", &last).await;
            served(&case, &url, &last).await;
        }
        Life::Delete => {
            case.delete("docs").await;
            live(&mut case, "gone", "").await;
        }
    }
    case.aws().clear_faults(&case.account);
    case.proxy.as_ref().expect("a proxy").faults.clear(API);
    whole(&mut case, life).await;
    struck.load(Ordering::SeqCst)
}

/// The removed file is gone, one subscription stands, and whoever reads its queue hears of the
/// commit.
async fn served(case: &Case, queue: &str, commit: &str) {
    let status = case.status("docs").await;
    assert_eq!(case.file(&status, "gone.txt").await, None);
    let topic = status.topic_arn.unwrap();
    let list = [
        ("Action", "ListSubscriptionsByTopic"),
        ("TopicArn", &*topic),
    ];
    let listed = case.sns(&list).await.unwrap();
    assert_eq!(listed.matches("<Endpoint>").count(), 1, "{listed}");
    case.until(|| async {
        let told = case.receive(queue).await?;
        let ours = told.iter().any(|text| {
            serde_json::from_str::<Value>(text).is_ok_and(|told| told["commit"]["id"] == commit)
        });
        ours.then_some(())
            .ok_or_else(|| format!("not announced: {told:?}"))
    })
    .await;
}

fn arm(side: Side, case: &Case, strike: Strike, n: u32) -> Arc<AtomicBool> {
    let pid = case.operator.as_ref().expect("an operator").id();
    let whose = if side == Side::Aws {
        &*case.account
    } else {
        API
    };
    let fault = strike(whose, n, pid);
    let struck = fault.struck();
    match side {
        Side::Aws => case.aws().fault(fault),
        Side::Kubernetes => case.proxy.as_ref().expect("a proxy").faults.add(fault),
    }
    struck
}

/// Starts the operator again whenever it was killed, authorizes what is PENDING, and
/// waits until the object is where it is to be.
pub async fn live(case: &mut Case, until: &str, commit: &str) {
    let end = Instant::now() + LIMIT;
    loop {
        if case.operator.as_mut().is_some_and(|o| o.has_ended()) {
            case.start().await;
        }
        let object = case.api().get_opt("docs").await.expect("the API server");
        let Some(object) = object else {
            assert_eq!(until, "gone");
            return;
        };
        let status = object.status.unwrap_or_default();
        let connection = status.connection.clone().unwrap_or_default();
        if let (Some(arn), Some("PENDING")) = (&connection.arn, connection.status.as_deref()) {
            // Of two that were made for a moment a person may click either; the spare one may be
            // gone by then.
            let _ = case.aws().authorize(arn);
        }
        let delivered = status
            .delivered
            .as_ref()
            .and_then(|d| d.commit.as_ref())
            .is_some_and(|c| c.id == commit);
        let settled = status.observed_generation == object.metadata.generation
            && is_true(&status, "Ready")
            && is_true(&status, "Provisioned");
        let names = case.aws().pipelines(&case.account);
        let runs = names.keys().flat_map(|name| case.executions(name));
        let ended = runs.into_iter().all(|e| e.status != "InProgress");
        let bucket = status
            .delivered
            .as_ref()
            .map(|d| d.bucket.clone())
            .unwrap_or_default();
        let execution = status.delivered.as_ref().map(|d| &d.execution);
        let served = status.announced.as_ref().map(|a| &a.execution) == execution
            && status.pruned.as_ref().map(|p| &p.execution) == execution
            && status
                .subscriptions
                .iter()
                .map(|s| &*s.status)
                .eq(["CONFIRMED"]);
        let arrived = until == "delivered"
            || (until == "served" && served)
            || (until == "moved" && status.former.is_empty() && bucket.ends_with("-an"));
        if arrived && delivered && settled && ended {
            return;
        }
        assert!(
            Instant::now() < end,
            "not {until}: {status:#?}\n{}",
            case.log()
        );
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Everything is there once, or not at all, and a further look writes nothing.
pub async fn whole(case: &mut Case, life: Life) {
    let aws = case.aws();
    let connections = aws.connections(&case.account);
    // Who moves into a class leaves an authorization behind, and it is kept.
    let wanted: &[&str] = if life == Life::Move {
        &["AVAILABLE", "AVAILABLE"]
    } else {
        &["AVAILABLE"]
    };
    assert_eq!(
        connections.iter().map(|c| &*c.status).collect::<Vec<_>>(),
        wanted,
        "{}",
        case.log()
    );
    let (pipelines, rules) = (aws.pipelines(&case.account), aws.rules(&case.account));
    if life == Life::Delete {
        assert!(
            pipelines.is_empty() && rules.is_empty(),
            "{pipelines:?} {rules:?}"
        );
        return;
    }
    assert_eq!((pipelines.len(), rules.len()), (1, 1));
    let name = pipelines.keys().next().unwrap();
    let runs = case.executions(name);
    assert!(
        runs.iter()
            .all(|e| e.status == "Succeeded" || e.status == "Cancelled"),
        "{runs:?}"
    );
    let status = case.status("docs").await;
    assert!(case.file(&status, "README.md").await.is_some());
    let recorded: Vec<&String> = status.resources.values().collect();
    let shares = matches!(life, Life::Class | Life::Move);
    let destination = case
        .api()
        .get("docs")
        .await
        .expect("the object")
        .spec
        .destination;
    let reads = destination.is_some_and(|d| d.readers.is_some());
    assert_eq!(
        recorded.len(),
        if shares { 2 } else { 7 } + usize::from(reads),
        "{recorded:?}"
    );
    if reads {
        let delivered = status.delivered.clone().unwrap();
        let policy = crate::readers::statements(case, &delivered.bucket).await;
        let readable = format!("arn:aws:s3:::{}/{}/*", delivered.bucket, delivered.prefix);
        assert_eq!(crate::readers::readable(&policy), [readable], "{policy:?}");
    }
    if shares {
        let class = case.class_name("org");
        let whole = |s: &_| is_true(s, "Ready");
        let status = case.wait_class(&class, "not ready", whole).await;
        assert_eq!((status.resources.len(), status.connections.len()), (7, 1));
        let list = [("Action", "ListRoles"), ("PathPrefix", "/repofanout/")];
        let roles = case.iam(&list).await.unwrap();
        assert_eq!(roles.matches("<RoleName>rf-").count(), 1, "{roles}");
    }
    let writes = case.writes();
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "after")
        .await;
    let end = Instant::now() + LIMIT;
    while case
        .status("docs")
        .await
        .last_handled_reconcile_at
        .as_deref()
        != Some("after")
    {
        // The fault may have struck at the very last write.
        if case.operator.as_mut().is_some_and(|o| o.has_ended()) {
            case.start().await;
        }
        assert!(Instant::now() < end, "not looked at\n{}", case.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(case.writes(), writes, "a further look writes");
}

#[tokio::test]
async fn killed_before_every_write_of_a_creation() {
    assert!(at_every_write(Side::Aws, Life::Create, "kill-b-create", kill_before).await >= 13);
}

#[tokio::test]
async fn killed_after_every_write_of_a_creation() {
    assert!(at_every_write(Side::Aws, Life::Create, "kill-a-create", kill_after).await >= 13);
}

#[tokio::test]
async fn killed_before_every_write_of_a_class_and_its_first_fan_out() {
    assert!(at_every_write(Side::Aws, Life::Class, "kill-b-class", kill_before).await >= 12);
}

#[tokio::test]
async fn killed_after_every_write_of_a_class_and_its_first_fan_out() {
    assert!(at_every_write(Side::Aws, Life::Class, "kill-a-class", kill_after).await >= 12);
}

#[tokio::test]
async fn killed_before_every_write_of_a_move_into_a_class() {
    assert!(at_every_write(Side::Aws, Life::Move, "kill-b-move", kill_before).await >= 8);
}

#[tokio::test]
async fn killed_after_every_write_of_a_move_into_a_class() {
    assert!(at_every_write(Side::Aws, Life::Move, "kill-a-move", kill_after).await >= 8);
}

#[tokio::test]
async fn killed_around_every_write_of_a_delivery_that_is_served_or_failing_for_a_while() {
    for (name, strike) in [
        ("kill-b-serve", kill_before as Strike),
        ("kill-a-serve", kill_after),
        ("fail-serve", fail_for_a_while),
    ] {
        let tried = at_every_write(Side::Aws, Life::Serve, name, strike).await;
        assert!(tried >= 3, "{name}: {tried}");
    }
}

#[tokio::test]
async fn every_reply_of_a_creation_lost_once() {
    assert!(at_every_write(Side::Aws, Life::Create, "lost-create", lose_the_reply).await >= 13);
}

#[tokio::test]
async fn killed_before_every_write_of_a_change() {
    assert!(at_every_write(Side::Aws, Life::Update, "kill-b-update", kill_before).await >= 8);
}

#[tokio::test]
async fn killed_after_every_write_of_a_change() {
    assert!(at_every_write(Side::Aws, Life::Update, "kill-a-update", kill_after).await >= 8);
}

#[tokio::test]
async fn killed_before_every_write_of_a_deletion() {
    assert!(at_every_write(Side::Aws, Life::Delete, "kill-b-delete", kill_before).await >= 8);
}

#[tokio::test]
async fn killed_after_every_write_of_a_deletion() {
    assert!(at_every_write(Side::Aws, Life::Delete, "kill-a-delete", kill_after).await >= 8);
}

#[tokio::test]
async fn killed_around_every_kubernetes_write() {
    for (life, least) in [
        (Life::Create, 8),
        (Life::Update, 2),
        (Life::Delete, 2),
        (Life::Class, 12),
        (Life::Move, 4),
    ] {
        for (name, strike) in [
            ("api-kill-b", kill_before as Strike),
            ("api-kill-a", kill_after),
        ] {
            let name = format!("{name}-{life:?}").to_lowercase();
            let tried = at_every_write(Side::Kubernetes, life, &name, strike).await;
            assert!(tried >= least, "{name}: {tried}");
        }
    }
}

#[tokio::test]
async fn failing_for_a_while_from_every_write_of_a_creation() {
    assert!(at_every_write(Side::Aws, Life::Create, "fail-create", fail_for_a_while).await >= 13);
}

#[tokio::test]
async fn failing_for_a_while_from_every_write_of_a_class_and_of_a_move_into_it() {
    assert!(at_every_write(Side::Aws, Life::Class, "fail-class", fail_for_a_while).await >= 12);
    assert!(at_every_write(Side::Aws, Life::Move, "fail-move", fail_for_a_while).await >= 8);
}

#[tokio::test]
async fn killed_before_every_write_of_an_adoption() {
    assert!(at_every_write(Side::Aws, Life::Adopt, "kill-b-adopt", kill_before).await >= 13);
}

#[tokio::test]
async fn killed_after_every_write_of_an_adoption() {
    assert!(at_every_write(Side::Aws, Life::Adopt, "kill-a-adopt", kill_after).await >= 13);
}

#[tokio::test]
async fn failing_for_a_while_from_every_write_of_a_change_and_a_deletion() {
    assert!(at_every_write(Side::Aws, Life::Update, "fail-update", fail_for_a_while).await >= 8);
    assert!(at_every_write(Side::Aws, Life::Delete, "fail-delete", fail_for_a_while).await >= 8);
}

/// A sample, from a seed: `soak` strikes at all of them in time.
#[tokio::test]
async fn failing_for_a_while_at_a_sample_of_reads() {
    for (life, name, sample) in [
        (Life::Create, "read-create", [1, 5, 8, 12, 17, 23]),
        (Life::Update, "read-update", [2, 3, 7, 11, 16, 22]),
        (Life::Delete, "read-delete", [1, 4, 6, 9, 13, 15]),
    ] {
        let points = futures::stream::iter(sample)
            .map(|n| survive(Side::Aws, life, name, fail_to_read_for_a_while, n))
            .buffered(3);
        let struck = points
            .filter(|struck| std::future::ready(*struck))
            .count()
            .await;
        let _ = writeln!(
            std::io::stderr(),
            "Aws, {life:?}, {name}: {struck} points tried, all passed"
        );
        assert_eq!(struck, 6);
    }
}

/// Each operation of a creation fails for a while, longer than the SDK tries.
#[tokio::test]
async fn every_operation_of_a_creation_fails_for_a_while() {
    let errors: [(u16, &str); 3] = [
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (400, "ThrottlingException"),
    ];
    let operations = [
        "s3:HeadBucket",
        "s3:CreateBucket",
        "s3:PutBucketPolicy",
        "s3:PutBucketLifecycleConfiguration",
        "codestar-connections:ListConnections",
        "codestar-connections:CreateConnection",
        "codestar-connections:GetConnection",
        "iam:GetRole",
        "iam:CreateServiceLinkedRole",
        "iam:CreateRole",
        "iam:PutRolePolicy",
        "sns:GetTopicAttributes",
        "sns:CreateTopic",
        "codepipeline:CreatePipeline",
        "codepipeline:ListPipelineExecutions",
        "codestar-notifications:CreateNotificationRule",
    ];
    let points = operations
        .iter()
        .enumerate()
        .map(|(n, operation)| (operation, errors[n % errors.len()]));
    futures::stream::iter(points)
        .map(|(operation, (status, code))| async move {
            let slug: String = operation
                .chars()
                .filter(char::is_ascii_lowercase)
                .take(20)
                .collect();
            let mut case = Case::new(&format!("fails-{slug}"), &["--leader-elect=false"]).await;
            let (repository, commit) = case.create_repository().await;
            let effect = Effect::Fail {
                status,
                code: code.to_owned(),
                message: "for a while".to_owned(),
            };
            let fault = Fault::new(&case.account, operation, When::First(4), effect);
            let struck = fault.struck();
            case.aws().fault(fault);
            case.apply("docs", json!({"repository": repository}))
                .await
                .unwrap();
            live(&mut case, "delivered", &commit).await;
            // Authorized quickly, a creation may come to its end without having asked; the next
            // looks do.
            case.until(|| async {
                struck
                    .load(Ordering::SeqCst)
                    .then_some(())
                    .ok_or_else(|| format!("{operation} was never called"))
            })
            .await;
            live(&mut case, "delivered", &commit).await;
            whole(&mut case, Life::Create).await;
        })
        .buffer_unordered(4)
        .collect::<Vec<()>>()
        .await;
}
