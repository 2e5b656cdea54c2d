//! AWS, the API server or permissions are away for a while, or two operators run at once.

use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use serde_json::json;
use support::API;
use support::aws::{Effect, Fault, When};

use crate::case::{Case, LIMIT, assert_message, condition};
use crate::classes::shared_spec;
use crate::faults::{assert_whole, settle_delivered};

/// The API server refuses, cuts off or loses replies for a while; then the operator goes on.
#[tokio::test]
async fn an_api_server_that_is_away_for_a_while_is_waited_for() {
    let away = Effect::Fail {
        status: 503,
        code: "ServiceUnavailable".to_owned(),
        message: "away".to_owned(),
    };
    for (name, effect) in [
        ("api-away", away),
        ("api-cut", Effect::CutBefore),
        ("api-lost", Effect::CutAfter),
    ] {
        let mut case = Case::without_operator(name, &["--leader-elect=false"]).await;
        case.start_behind_proxy().await;
        let (repository, commit) = case.create_repository().await;
        case.apply("docs", json!({"repository": repository}))
            .await
            .unwrap();
        case.authorize("docs").await;
        case.wait_delivered("docs", &commit).await;
        let fault = Fault::new(API, "*", When::First(3), effect);
        let struck = fault.struck();
        let proxy = case.proxy.as_ref().unwrap();
        proxy.faults.add(fault);
        // The watch ends, too, and starts again under the fault.
        proxy.cut();
        let next = case.push(&repository, "next", "NEXT.md", "next\n").await;
        case.apply("docs", json!({"repository": repository, "branch": "next"}))
            .await
            .unwrap();
        settle_delivered(&mut case, &next).await;
        assert!(struck.load(Ordering::SeqCst));
        assert_whole(&mut case).await;
    }
}

#[tokio::test]
async fn two_operators_at_once_make_nothing_twice() {
    let case = Case::new("two-first", &["--leader-elect=false"]).await;
    let mut second = Case::without_operator("two-second", &["--leader-elect=false"]).await;
    // A second process serves the namespace and the account of the first, as after a Lease that was
    // lost late.
    second.namespace.clone_from(&case.namespace);
    second.account.clone_from(&case.account);
    second.start().await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    let next = case.push(&repository, "next", "NEXT.md", "next\n").await;
    case.apply("docs", json!({"repository": repository, "branch": "next"}))
        .await
        .unwrap();
    case.wait_delivered("docs", &next).await;
    let aws = case.aws();
    assert_eq!(aws.connections(&case.account).len(), 1);
    assert_eq!(
        (
            aws.pipelines(&case.account).len(),
            aws.rules(&case.account).len()
        ),
        (1, 1)
    );
    // They do not fight each other: both come to rest, and neither writes while both reconcile
    // again and again.
    let state = async || (case.writes(), crate::case::version(&case.get("docs").await));
    let looks = || {
        aws.calls(&case.account)
            .iter()
            .filter(|c| c.operation == "codepipeline:ListPipelineExecutions")
            .count()
    };
    let end = Instant::now() + LIMIT;
    let (mut still, mut since) = (state().await, looks());
    while looks() - since < 20 {
        assert!(
            Instant::now() < end,
            "they write all the while; last {:?}",
            still.0.last()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
        let now = state().await;
        if now != still {
            (still, since) = (now, looks());
        }
    }
}

/// The status names the call that AWS denies, and the object heals once the call is allowed.
#[tokio::test]
async fn a_missing_permission_is_named() {
    let case = Case::new("denied", &[]).await;
    let (repository, commit) = case.create_repository().await;
    let message = format!(
        "User: arn:aws:sts::{}:assumed-role/x/y is not authorized to perform: sns:CreateTopic",
        case.account
    );
    let effect = Effect::Fail {
        status: 403,
        code: "AuthorizationError".to_owned(),
        message,
    };
    case.aws().fault(Fault::new(
        &case.account,
        "sns:CreateTopic",
        When::Always,
        effect,
    ));
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "AccessDenied")
        .await;
    let stalled = condition(&status, "Stalled").unwrap();
    assert!(
        stalled.says("may not call sns:CreateTopic") && !stalled.says("assumed-role"),
        "{stalled:?}"
    );
    case.aws().clear_faults(&case.account);
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "allowed")
        .await;
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
}

#[tokio::test]
async fn expired_credentials_and_an_aws_that_is_down_are_survived() {
    for (name, status, code) in [
        ("expired", 400, "ExpiredToken"),
        ("down", 503, "ServiceUnavailable"),
    ] {
        let mut case = Case::new(name, &["--leader-elect=false"]).await;
        let (repository, commit) = case.create_repository().await;
        let effect = Effect::Fail {
            status,
            code: code.to_owned(),
            message: "not now".to_owned(),
        };
        let fault = Fault::new(&case.account, "*", When::First(12), effect);
        let struck = fault.struck();
        // The operator calls STS first, so it has to be up before AWS goes down.
        case.apply("other", json!({"repository": repository}))
            .await
            .unwrap();
        case.wait_condition("other", "Ready", "False", "ConnectionPending")
            .await;
        case.delete("other").await;
        case.wait_gone("other").await;
        case.aws().fault(fault);
        case.apply("docs", json!({"repository": repository}))
            .await
            .unwrap();
        settle_delivered(&mut case, &commit).await;
        assert!(struck.load(Ordering::SeqCst));
        assert_whole(&mut case).await;
    }
}

/// DeleteTarget is refused for a while after the rule is gone; a missing permission holds the
/// deletion, and the status says so.
#[tokio::test]
async fn a_deletion_that_is_held_up_says_by_what_and_ends() {
    let case = Case::new("held", &[]).await;
    case.create_delivered("docs").await;
    let subscribed = "The target is subscribed to one or more notification rules".to_owned();
    let refused = Effect::Fail {
        status: 400,
        code: "ValidationException".to_owned(),
        message: subscribed,
    };
    case.aws().fault(Fault::new(
        &case.account,
        "codestar-notifications:DeleteTarget",
        When::First(2),
        refused,
    ));
    let denied = Effect::Fail {
        status: 403,
        code: "AccessDenied".to_owned(),
        message: "not authorized".to_owned(),
    };
    case.aws().fault(Fault::new(
        &case.account,
        "s3:DeleteBucket",
        When::Always,
        denied,
    ));
    let connection = case.status("docs").await.connection.unwrap().arn.unwrap();
    case.aws().set_connection(&connection, "ERROR").unwrap();
    case.delete("docs").await;
    let blocked = case
        .wait("docs", "the bucket does not hold the deletion", |s| {
            condition(s, "Stalled")
                .is_some_and(|c| c.is("True", "DeletionBlocked") && c.says("s3:DeleteBucket"))
        })
        .await;
    assert_message(&blocked, "Stalled", "repofanout.dev/abandon=docs");
    case.aws().clear_faults(&case.account);
    case.wait_gone("docs").await;
    let connections = case.aws().connections(&case.account);
    assert_eq!(
        connections.len(),
        1,
        "an authorization in ERROR is an authorization"
    );
    case.wait_event("docs", "Retained", &connections[0].arn)
        .await;
}

/// An operator that starts against an API server that lags reads old objects, and harms nothing.
#[tokio::test]
async fn an_api_server_that_answers_from_the_past_misleads_nobody() {
    let mut case = Case::without_operator("past", &["--leader-elect=false"]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.apply("gone", json!({"repository": repository}))
        .await
        .unwrap();
    // Its first list holds both objects without a status.
    case.start_behind_proxy().await;
    case.wait_condition("gone", "Ready", "False", "ConnectionPending")
        .await;
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    case.delete("gone").await;
    case.wait_gone("gone").await;
    let next = case.push(&repository, "next", "NEXT.md", "next\n").await;
    case.apply("docs", json!({"repository": repository, "branch": "next"}))
        .await
        .unwrap();
    case.wait_delivered("docs", &next).await;
    // The new object has the name of the old one: what the past says of the old one must not delete
    // what is the new one's.
    case.apply("gone", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait_condition("gone", "Ready", "False", "ConnectionPending")
        .await;
    let writes = case.writes();
    // The operator restarts and receives the first list again: an old spec without a status, and an
    // object that is gone.
    case.proxy.as_ref().unwrap().answer_from_the_past();
    case.start().await;
    case.reconcile("docs", "1").await;
    case.reconcile("gone", "1").await;
    assert_eq!(case.writes(), writes, "it acted on the past");
    assert_eq!(case.aws().connections(&case.account).len(), 2);
}

/// Each operation takes three calls a second: all five objects are delivered nevertheless, and
/// nothing is made twice.
#[tokio::test]
async fn a_throttled_account_serves_all_in_time() {
    let case = Case::new("throttled", &["--allow-existing=arn:aws:*:connection/*"]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    let arn = case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    case.aws().throttle(&case.account, &[("", 3)]);
    for n in 0..4 {
        let spec = json!({"repository": repository, "connection": {"existingARN": arn}});
        case.apply(&format!("more-{n}"), spec).await.unwrap();
    }
    for n in 0..4 {
        case.wait_delivered(&format!("more-{n}"), &commit).await;
    }
    case.aws().throttle(&case.account, &[]);
    let aws = case.aws();
    assert_eq!(aws.connections(&case.account).len(), 1);
    assert_eq!(
        (
            aws.pipelines(&case.account).len(),
            aws.rules(&case.account).len()
        ),
        (5, 5)
    );
}

/// An operator that is killed between the start of an execution and its acknowledgement starts no
/// second one.
#[tokio::test]
async fn a_release_is_started_once_also_by_an_operator_that_dies() {
    let strikes: [fn(u32) -> Effect; 2] = [Effect::KillBefore, Effect::KillAfter];
    for (n, strike) in strikes.into_iter().enumerate() {
        let mut case = Case::new(&format!("release-dies-{n}"), &["--leader-elect=false"]).await;
        let (repository, commit) = case.create_repository().await;
        case.apply("docs", json!({"repository": repository}))
            .await
            .unwrap();
        case.authorize("docs").await;
        let base = crate::case::base_name(&case.wait_delivered("docs", &commit).await);
        let effect = strike(case.operator.as_ref().unwrap().id());
        case.aws().fault(Fault::new(
            &case.account,
            "codepipeline:StartPipelineExecution",
            When::Nth(1),
            effect,
        ));
        case.annotate("docs", "repofanout.dev/release-requested-at", "now")
            .await;
        case.operator.as_mut().unwrap().ended().await.unwrap();
        case.start().await;
        case.wait("docs", "the release is not acknowledged", |s| {
            s.last_handled_release_at.as_deref() == Some("now")
        })
        .await;
        settle_delivered(&mut case, &commit).await;
        assert_eq!(case.executions(&base).len(), 2);
    }
}

/// Credentials that stop working are told on an object that was Ready, although each single failure
/// may pass; once they work again, so does the object.
#[tokio::test]
async fn credentials_that_stop_working_are_told_within_an_interval() {
    let case = Case::with_classes("no-credentials", &[]).await;
    let (repository, commit) = case.create_repository().await;
    let account = case.other_account(5);
    let role = case.create_trusting_role(&account, "id").await;
    case.aws()
        .shorten_sessions(&account, Duration::from_secs(15));
    let mut spec = shared_spec(&case);
    spec["account"] = json!({"roleARN": role, "externalID": "id"});
    let class = case.class_name("all");
    case.create_ready_class(&class, spec).await;
    case.apply(
        "docs",
        json!({"repository": repository, "className": class, "interval": "1m"}),
    )
    .await
    .unwrap();
    case.wait_delivered("docs", &commit).await;

    case.aws().fault(Fault::new(
        &case.account,
        "sts:AssumeRole",
        When::Always,
        Effect::CutBefore,
    ));
    // The sessions end before this is looked at.
    tokio::time::sleep(Duration::from_secs(15)).await;
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "now")
        .await;
    let unknown = case
        .wait_condition("docs", "Ready", "Unknown", "NotObserved")
        .await;
    assert_message(&unknown, "Ready", "has no credentials to call AWS with");
    assert_message(&unknown, "Ready", "AWS has not been observed since ");
    case.wait_event("docs", "NotObserved", "").await;
    case.aws().clear_faults(&case.account);
    case.wait_delivered("docs", &commit).await;
}
