//! Killed, cut off or refused at every write to AWS, the operator converges: nothing
//! is there twice, nothing is left over.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures::StreamExt;
use serde_json::json;
use support::API;
use support::aws::{Effect, Fault, When};

use crate::case::{Case, LIMIT, condition};

/// What an object goes through while the fault strikes.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Life {
    Create,
    /// A creation that takes a bucket and a topic over.
    Adopt,
    Update,
    Delete,
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
    Effect::Fail { status: 503, code: "ServiceUnavailable".to_owned(), message: "for a while".to_owned() }
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
        let points = futures::stream::iter(first..first + 4).map(|n| survive(side, life, name, strike, n)).buffered(4);
        let struck = points.filter(|struck| std::future::ready(*struck)).count().await;
        tried += struck;
        if struck < 4 {
            // Not by macro: the test harness would keep it to itself.
            let _ = writeln!(std::io::stderr(), "{side:?}, {life:?}, {name}: {tried} points tried, all passed");
            return tried;
        }
        first += 4;
    }
}

/// One life with the fault at its n-th write; tells whether it came to that.
async fn survive(side: Side, life: Life, name: &str, strike: Strike, n: u32) -> bool {
    let mut case = Case::without_operator(&format!("{name}-{n}"), &["--leader-elect=false", "--allow-names"]).await;
    case.start_behind_proxy().await;
    let (repository, commit) = case.repository().await;
    let mut spec = json!({"repository": repository});
    if life == Life::Adopt {
        let theirs = format!("theirs-{}", case.namespace);
        case.bucket(&theirs).await;
        let topic = [("Action", "CreateTopic"), ("Version", "2010-03-31"), ("Name", &*theirs)];
        case.aws().form(&case.account, crate::case::REGION, "sns", &topic).await.unwrap();
        spec["artifacts"] = json!({"bucketName": theirs});
        spec["notifications"] = json!({"topicName": theirs});
        spec["adopt"] = json!(["Artifacts", "Topic"]);
    }
    let struck: Arc<AtomicBool>;
    if matches!(life, Life::Create | Life::Adopt) {
        struck = arm(side, &case, strike, n);
        case.apply("docs", spec.clone()).await.unwrap();
        live(&mut case, "delivered", &commit).await;
    } else {
        case.apply("docs", spec.clone()).await.unwrap();
        case.authorize("docs").await;
        case.wait_delivered("docs", &commit).await;
        struck = arm(side, &case, strike, n);
    }
    match life {
        Life::Create | Life::Adopt => {}
        Life::Update => {
            let next = case.push(&repository, "next", "NEXT.md", "next\n").await;
            spec["branch"] = json!("next");
            spec["destination"] = json!({"prefix": "elsewhere"});
            spec["notifications"] = json!({"detail": "FULL"});
            spec["tags"] = json!({"team": "docs"});
            case.apply("docs", spec).await.unwrap();
            live(&mut case, "delivered", &next).await;
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

fn arm(side: Side, case: &Case, strike: Strike, n: u32) -> Arc<AtomicBool> {
    let pid = case.operator.as_ref().expect("an operator").id();
    let whose = if side == Side::Aws { &*case.account } else { API };
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
            case.start();
        }
        let object = case.api().get_opt("docs").await.expect("the API server");
        let Some(object) = object else {
            assert_eq!(until, "gone");
            return;
        };
        let status = object.status.unwrap_or_default();
        let connection = status.connection.clone().unwrap_or_default();
        if let (Some(arn), Some("PENDING")) = (&connection.arn, connection.status.as_deref()) {
            // Of two that were made for a moment a person may click either; the spare one may be gone by then.
            let _ = case.aws().authorize(arn);
        }
        let delivered = status.delivered.as_ref().and_then(|d| d.commit.as_ref()).is_some_and(|c| c.id == commit);
        let settled = status.observed_generation == object.metadata.generation
            && condition(&status, "Ready").is_some_and(|c| c.0 == "True")
            && condition(&status, "Provisioned").is_some_and(|c| c.0 == "True");
        let names = case.aws().pipelines(&case.account);
        let runs = names.keys().flat_map(|name| case.aws().executions(&case.account, name));
        let ended = runs.into_iter().all(|(state, _)| state != "InProgress");
        if until == "delivered" && delivered && settled && ended {
            return;
        }
        assert!(Instant::now() < end, "not {until}: {status:#?}\n{}", case.log());
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
}

/// Everything is there once, or not at all, and a further look writes nothing.
async fn whole(case: &mut Case, life: Life) {
    let aws = case.aws();
    let connections = aws.connections(&case.account);
    assert_eq!(connections.iter().map(|c| &*c.status).collect::<Vec<_>>(), ["AVAILABLE"], "{}", case.log());
    let (pipelines, rules) = (aws.pipelines(&case.account), aws.rules(&case.account));
    if life == Life::Delete {
        assert!(pipelines.is_empty() && rules.is_empty(), "{pipelines:?} {rules:?}");
        return;
    }
    assert_eq!((pipelines.len(), rules.len()), (1, 1));
    let name = pipelines.keys().next().unwrap();
    let runs = aws.executions(&case.account, name);
    assert!(runs.iter().all(|(status, _)| status == "Succeeded" || status == "Cancelled"), "{runs:?}");
    let status = case.status("docs").await;
    assert!(case.file(&status, "README.md").await.is_some());
    let recorded: Vec<&String> = status.resources.values().collect();
    assert_eq!(recorded.len(), 7, "{recorded:?}");
    let writes = case.writes();
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "after").await;
    let end = Instant::now() + LIMIT;
    while case.status("docs").await.last_handled_reconcile_at.as_deref() != Some("after") {
        // The fault may have struck at the very last write.
        if case.operator.as_mut().is_some_and(|o| o.has_ended()) {
            case.start();
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
    for (life, least) in [(Life::Create, 8), (Life::Update, 2), (Life::Delete, 2)] {
        for (name, strike) in [("api-kill-b", kill_before as Strike), ("api-kill-a", kill_after)] {
            let name = format!("{name}-{life:?}").to_lowercase();
            let tried = at_every_write(Side::Kubernetes, life, &name, strike).await;
            assert!(tried >= least, "{name}: {tried}");
        }
    }
}

/// The API server refuses, cuts off or forgets for a while; then it goes on.
#[tokio::test]
async fn an_api_server_that_is_away_for_a_while_is_waited_for() {
    let away = Effect::Fail { status: 503, code: "ServiceUnavailable".to_owned(), message: "away".to_owned() };
    for (name, effect) in [("api-away", away), ("api-cut", Effect::CutBefore), ("api-lost", Effect::CutAfter)] {
        let mut case = Case::without_operator(name, &["--leader-elect=false"]).await;
        case.start_behind_proxy().await;
        let (repository, commit) = case.repository().await;
        case.apply("docs", json!({"repository": repository})).await.unwrap();
        case.authorize("docs").await;
        case.wait_delivered("docs", &commit).await;
        let fault = Fault::new(API, "*", When::First(3), effect);
        let struck = fault.struck();
        let proxy = case.proxy.as_ref().unwrap();
        proxy.faults.add(fault);
        // The watch ends, too, and is taken up again under the fault.
        proxy.cut();
        let next = case.push(&repository, "next", "NEXT.md", "next\n").await;
        case.apply("docs", json!({"repository": repository, "branch": "next"})).await.unwrap();
        live(&mut case, "delivered", &next).await;
        assert!(struck.load(Ordering::SeqCst));
        whole(&mut case, Life::Update).await;
    }
}

#[tokio::test]
async fn failing_for_a_while_from_every_write_of_a_creation() {
    assert!(at_every_write(Side::Aws, Life::Create, "fail-create", fail_for_a_while).await >= 13);
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
        let struck = points.filter(|struck| std::future::ready(*struck)).count().await;
        let _ = writeln!(std::io::stderr(), "Aws, {life:?}, {name}: {struck} points tried, all passed");
        assert_eq!(struck, 6);
    }
}

/// Each operation of a creation fails for a while, longer than the SDK tries.
#[tokio::test]
async fn every_operation_of_a_creation_fails_for_a_while() {
    let errors: [(u16, &str); 3] = [(500, "InternalError"), (503, "ServiceUnavailable"), (400, "ThrottlingException")];
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
    let points = operations.iter().enumerate().map(|(n, operation)| (operation, errors[n % errors.len()]));
    futures::stream::iter(points)
        .map(|(operation, (status, code))| async move {
            let slug: String = operation.chars().filter(char::is_ascii_lowercase).take(20).collect();
            let mut case = Case::new(&format!("fails-{slug}"), &["--leader-elect=false"]).await;
            let (repository, commit) = case.repository().await;
            let effect = Effect::Fail { status, code: code.to_owned(), message: "for a while".to_owned() };
            let fault = Fault::new(&case.account, operation, When::First(4), effect);
            let struck = fault.struck();
            case.aws().fault(fault);
            case.apply("docs", json!({"repository": repository})).await.unwrap();
            live(&mut case, "delivered", &commit).await;
            assert!(struck.load(Ordering::SeqCst), "{operation} was never called");
            whole(&mut case, Life::Create).await;
        })
        .buffer_unordered(4)
        .collect::<Vec<()>>()
        .await;
}

#[tokio::test]
async fn two_operators_at_once_make_nothing_twice() {
    let case = Case::new("two-first", &["--leader-elect=false"]).await;
    let mut second = Case::without_operator("two-second", &["--leader-elect=false"]).await;
    // A second process on the namespace and account of the first, as after a Lease that was lost late.
    second.namespace.clone_from(&case.namespace);
    second.account.clone_from(&case.account);
    second.start();
    let (repository, commit) = case.repository().await;
    case.apply("docs", json!({"repository": repository})).await.unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    let next = case.push(&repository, "next", "NEXT.md", "next\n").await;
    case.apply("docs", json!({"repository": repository, "branch": "next"})).await.unwrap();
    case.wait_delivered("docs", &next).await;
    let aws = case.aws();
    assert_eq!(aws.connections(&case.account).len(), 1);
    assert_eq!((aws.pipelines(&case.account).len(), aws.rules(&case.account).len()), (1, 1));
    // And they do not fight: once settled, neither writes.
    case.wait("docs", "not settled", |s| condition(s, "Provisioned").is_some_and(|c| c.0 == "True")).await;
    let (writes, version) = (case.writes(), crate::case::version(&case.get("docs").await));
    let looks =
        || aws.calls(&case.account).iter().filter(|c| c.operation == "codepipeline:ListPipelineExecutions").count();
    let before = looks();
    support::until(LIMIT, || async { if looks() - before >= 20 { Ok(()) } else { Err("too few looks".to_owned()) } })
        .await
        .unwrap();
    assert_eq!((case.writes(), crate::case::version(&case.get("docs").await)), (writes, version));
}

/// What AWS does not allow is told with the call, and heals once it is allowed.
#[tokio::test]
async fn a_missing_permission_is_named() {
    let case = Case::new("denied", &[]).await;
    let (repository, commit) = case.repository().await;
    let message =
        format!("User: arn:aws:sts::{}:assumed-role/x/y is not authorized to perform: sns:CreateTopic", case.account);
    let effect = Effect::Fail { status: 403, code: "AuthorizationError".to_owned(), message };
    case.aws().fault(Fault::new(&case.account, "sns:CreateTopic", When::Always, effect));
    case.apply("docs", json!({"repository": repository})).await.unwrap();
    let status = case.wait_condition("docs", "Stalled", "True", "AccessDenied").await;
    let told = crate::case::message(&status, "Stalled");
    assert!(told.contains("may not call sns:CreateTopic") && !told.contains("assumed-role"), "{told}");
    case.aws().clear_faults(&case.account);
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "allowed").await;
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
}

#[tokio::test]
async fn expired_credentials_and_an_aws_that_is_down_are_survived() {
    for (name, status, code) in [("expired", 400, "ExpiredToken"), ("down", 503, "ServiceUnavailable")] {
        let mut case = Case::new(name, &["--leader-elect=false"]).await;
        let (repository, commit) = case.repository().await;
        let effect = Effect::Fail { status, code: code.to_owned(), message: "not now".to_owned() };
        let fault = Fault::new(&case.account, "*", When::First(12), effect);
        let struck = fault.struck();
        // The operator asks STS first: it is up before AWS goes down.
        case.apply("other", json!({"repository": repository})).await.unwrap();
        case.wait_condition("other", "Ready", "False", "ConnectionPending").await;
        case.delete("other").await;
        case.wait_gone("other").await;
        case.aws().fault(fault);
        case.apply("docs", json!({"repository": repository})).await.unwrap();
        live(&mut case, "delivered", &commit).await;
        assert!(struck.load(Ordering::SeqCst));
        whole(&mut case, Life::Create).await;
    }
}

/// DeleteTarget is refused for a while after the rule is gone; a missing permission holds the end, and says so.
#[tokio::test]
async fn a_deletion_that_is_held_up_says_by_what_and_ends() {
    let case = Case::new("held", &[]).await;
    case.delivered("docs").await;
    let subscribed = "The target is subscribed to one or more notification rules".to_owned();
    let refused = Effect::Fail { status: 400, code: "ValidationException".to_owned(), message: subscribed };
    case.aws().fault(Fault::new(&case.account, "codestar-notifications:DeleteTarget", When::First(2), refused));
    let denied = Effect::Fail { status: 403, code: "AccessDenied".to_owned(), message: "not authorized".to_owned() };
    case.aws().fault(Fault::new(&case.account, "s3:DeleteBucket", When::Always, denied));
    let connection = case.status("docs").await.connection.unwrap().arn.unwrap();
    case.aws().set_connection(&connection, "ERROR").unwrap();
    case.delete("docs").await;
    let held = case.wait("docs", "nothing is said", |s| {
        s.conditions.iter().any(|c| c.reason == "DeletionBlocked" && c.message.contains("s3:DeleteBucket"))
    });
    let held = held.await;
    assert!(crate::case::message(&held, "Stalled").contains("repofanout.dev/abandon=docs"));
    case.aws().clear_faults(&case.account);
    case.wait_gone("docs").await;
    let connections = case.aws().connections(&case.account);
    assert_eq!(connections.len(), 1, "an authorization in ERROR is an authorization");
    let events = case.events("docs").await;
    assert!(events.iter().any(|(r, n)| r == "Retained" && n.contains(&connections[0].arn)), "{events:?}");
}

/// An operator that starts against an API server that lags: what it reads is old, and it harms nothing.
#[tokio::test]
async fn an_api_server_that_answers_from_the_past_misleads_nobody() {
    let mut case = Case::without_operator("past", &["--leader-elect=false"]).await;
    let (repository, commit) = case.repository().await;
    case.apply("docs", json!({"repository": repository})).await.unwrap();
    case.apply("gone", json!({"repository": repository})).await.unwrap();
    // Its first list has both objects without a status.
    case.start_behind_proxy().await;
    case.wait_condition("gone", "Ready", "False", "ConnectionPending").await;
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    case.delete("gone").await;
    case.wait_gone("gone").await;
    let next = case.push(&repository, "next", "NEXT.md", "next\n").await;
    case.apply("docs", json!({"repository": repository, "branch": "next"})).await.unwrap();
    case.wait_delivered("docs", &next).await;
    let writes = case.writes();
    // Restarted, it is told of the first list again: an old spec without a status, and an object that is gone.
    case.proxy.as_ref().unwrap().answer_from_the_past();
    case.start();
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "1").await;
    case.wait("docs", "not looked at", |s| s.last_handled_reconcile_at.as_deref() == Some("1")).await;
    assert_eq!(case.writes(), writes, "it acted on the past");
    assert_eq!(case.aws().connections(&case.account).len(), 1);
}
