//! What the operator reports about itself, and which of several replicas leads.

use serde_json::json;
use support::aws::{Effect, Fault, When};
use support::{API, free_port, get, until};

use crate::case::{Case, LIMIT};

/// The value of a metric; name and labels are given as they are written.
async fn metric(port: u16, name: &str) -> Option<f64> {
    let (status, text) = get(port, "/metrics").await.ok()?;
    assert_eq!(status, 200);
    assert!(text.ends_with("# EOF\n"), "{text}");
    let line = text.lines().find(|line| {
        line.strip_prefix(name)
            .is_some_and(|rest| rest.starts_with(' '))
    })?;
    line.rsplit(' ').next()?.parse().ok()
}

async fn wait_metric(port: u16, name: &str, wanted: impl Fn(f64) -> bool) {
    let asked = until(LIMIT, || async {
        match metric(port, name).await {
            Some(value) if wanted(value) => Ok(()),
            other => Err(format!("{name} is {other:?}")),
        }
    });
    if let Err(error) = asked.await {
        panic!(
            "{error}\n{}",
            get(port, "/metrics")
                .await
                .map_or_else(|e| e, |(_, text)| text)
        );
    }
}

async fn wait_answer(port: u16, path: &str, status: u16, words: &str) {
    let asked = until(LIMIT, || async {
        match get(port, path).await {
            Ok((found, text)) if found == status && text.contains(words) => Ok(()),
            other => Err(format!("{path}: {other:?}")),
        }
    });
    asked.await.unwrap();
}

#[tokio::test]
async fn what_happens_is_counted_without_labels_that_grow() {
    let port = free_port().unwrap();
    let case = Case::new(
        "metrics",
        &[&format!("--listen=127.0.0.1:{port}"), "--name-prefix=m-"],
    )
    .await;
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    wait_metric(port, r#"repofanout_connections{status="PENDING"}"#, |n| {
        n == 1.0
    })
    .await;
    wait_metric(port, "repofanout_connection_pending_oldest_seconds", |n| {
        n > 0.0
    })
    .await;
    let pending =
        r#"repofanout_objects{kind="RepoFanout",ready="False",reason="ConnectionPending"}"#;
    wait_metric(port, pending, |n| n == 1.0).await;
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    wait_metric(port, r#"repofanout_connections{status="AVAILABLE"}"#, |n| {
        n == 1.0
    })
    .await;
    assert_eq!(
        metric(port, r#"repofanout_connections{status="PENDING"}"#).await,
        None
    );
    assert_eq!(
        metric(port, "repofanout_connection_pending_oldest_seconds").await,
        Some(0.0)
    );
    wait_metric(
        port,
        r#"repofanout_last_executions{status="Succeeded"}"#,
        |n| n == 1.0,
    )
    .await;
    wait_metric(port, "repofanout_time_to_ready_seconds_count", |n| n == 1.0).await;
    wait_metric(
        port,
        r#"repofanout_reconciles_total{kind="RepoFanout",result="settled"}"#,
        |n| n >= 1.0,
    )
    .await;
    assert_eq!(metric(port, "repofanout_leader").await, Some(1.0));
    // AWS counted as many calls.
    let calls = case.aws().calls(&case.account);
    let creations = calls
        .iter()
        .filter(|c| c.operation == "codepipeline:CreatePipeline")
        .count();
    let created = r#"repofanout_aws_calls_total{service="codepipeline",operation="CreatePipeline",code="OK"}"#;
    assert_eq!((creations, metric(port, created).await), (1, Some(1.0)));
    // Failing objects and objects that wait for a person are counted, too.
    case.apply(
        "stalled",
        json!({"repository": repository, "name": "chosen"}),
    )
    .await
    .unwrap();
    case.wait_condition("stalled", "Stalled", "True", "NotAllowed")
        .await;
    wait_metric(
        port,
        r#"repofanout_stalled{kind="RepoFanout",reason="NotAllowed"}"#,
        |n| n == 1.0,
    )
    .await;
    let throttled = Effect::Fail {
        status: 400,
        code: "ThrottlingException".into(),
        message: "slow down".into(),
    };
    case.aws().fault(Fault::new(
        &case.account,
        "codepipeline:ListPipelineExecutions",
        When::First(1),
        throttled,
    ));
    wait_metric(
        port,
        r#"repofanout_aws_throttles_total{service="codepipeline"}"#,
        |n| n == 1.0,
    )
    .await;
    let mute = Effect::Fail {
        status: 400,
        code: "SomethingNew-4711".into(),
        message: "who knows".into(),
    };
    case.aws().fault(Fault::new(
        &case.account,
        "codepipeline:ListPipelineExecutions",
        When::Nth(1),
        mute,
    ));
    let other = r#"repofanout_aws_calls_total{service="codepipeline",operation="ListPipelineExecutions",code="Other"}"#;
    wait_metric(port, other, |n| n >= 1.0).await;
    let (_, text) = get(port, "/metrics").await.unwrap();
    for name in [&*case.namespace, "docs", "4711", &case.account] {
        assert!(!text.contains(name), "{name} is a label: {text}");
    }
    case.delete("docs").await;
    case.wait_gone("docs").await;
    wait_metric(
        port,
        r#"repofanout_reconciles_total{kind="RepoFanout",result="deleting"}"#,
        |n| n >= 1.0,
    )
    .await;
}

#[tokio::test]
async fn one_of_several_works_and_the_next_is_ready_to() {
    let (first, second) = (free_port().unwrap(), free_port().unwrap());
    let mut case = Case::new(
        "follow",
        &[&format!("--listen=127.0.0.1:{first}"), "--identity=first"],
    )
    .await;
    wait_metric(first, "repofanout_leader", |n| n == 1.0).await;
    let flags = [
        &*format!("--listen=127.0.0.1:{second}"),
        "--identity=second",
    ];
    let mut other = Case::without_operator("follow-second", &flags).await;
    other.namespace.clone_from(&case.namespace);
    other.account.clone_from(&case.account);
    other.start().await;
    // The follower is ready: an upgrade waits for readiness, and readiness does not wait for the
    // Lease.
    wait_answer(second, "/readyz", 200, "ok").await;
    assert_eq!(metric(second, "repofanout_leader").await, Some(0.0));
    let (repository, commit) = case.create_repository().await;
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    case.authorize("docs").await;
    case.wait_delivered("docs", &commit).await;
    assert_eq!(metric(second, "repofanout_aws_calls_total").await, None);

    // The first one is paused and loses its Lease; once it wakes it exits, and nothing is made
    // twice.
    let paused = case.operator.take().unwrap();
    signal(paused.id(), "STOP");
    wait_metric(second, "repofanout_leader", |n| n == 1.0).await;
    let next = case.push(&repository, "main", "NEXT.md", "next\n").await;
    case.wait_delivered("docs", &next).await;
    signal(paused.id(), "CONT");
    let mut paused = paused;
    let ended = paused.ended().await.unwrap();
    assert!(!ended.success(), "it has lost its Lease: {ended}");

    // The second one is killed and the first, started anew, takes over; asked to exit, it hands the
    // Lease over at once.
    case.start().await;
    wait_answer(first, "/readyz", 200, "ok").await;
    drop(other.operator.take());
    wait_metric(first, "repofanout_leader", |n| n == 1.0).await;
    let last = case.push(&repository, "main", "LAST.md", "last\n").await;
    case.wait_delivered("docs", &last).await;
    assert_eq!(case.aws().connections(&case.account).len(), 1);
    assert_eq!(
        (
            case.aws().pipelines(&case.account).len(),
            case.aws().rules(&case.account).len()
        ),
        (1, 1)
    );
}

/// An operator that is cut off from the API server cannot know whether another one leads, so it
/// exits before the Lease expires.
#[tokio::test]
async fn a_leader_that_is_cut_off_ends_before_another_one_begins() {
    let mut case = Case::without_operator("partition", &["--identity=first"]).await;
    case.start_behind_proxy().await;
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    let proxy = case.proxy.as_ref().unwrap();
    proxy
        .faults
        .add(Fault::new(API, "*", When::Always, Effect::CutBefore));
    proxy.cut();
    let ended = case.operator.as_mut().unwrap().ended().await.unwrap();
    assert!(!ended.success(), "{ended}");
    // The next one reaches the API server directly, and depends on nothing that the first one does.
    case.proxy = None;
    case.start().await;
    case.reconcile("docs", "1").await;
    assert_eq!(case.aws().connections(&case.account).len(), 1);
}

fn signal(pid: u32, name: &str) {
    let status = std::process::Command::new("kill")
        .args([&format!("-{name}"), &pid.to_string()])
        .status();
    assert!(status.unwrap().success());
}

#[tokio::test]
async fn a_pass_that_hangs_is_told_and_one_that_goes_on_is_well() {
    let port = free_port().unwrap();
    let listen = format!("--listen=127.0.0.1:{port}");
    let mut case = Case::without_operator(
        "hangs",
        &[&listen, "--stuck-after=2s", "--leader-elect=false"],
    )
    .await;
    case.start_behind_proxy().await;
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
    case.wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    wait_answer(port, "/livez", 200, "ok").await;
    let hang = Effect::Delay(std::time::Duration::from_secs(6));
    case.proxy.as_ref().unwrap().faults.add(Fault::new(
        API,
        "PUT repofanouts/status",
        When::Nth(1),
        hang,
    ));
    case.apply(
        "docs",
        json!({"repository": "acme/none", "branch": "other"}),
    )
    .await
    .unwrap();
    wait_answer(port, "/livez", 503, "has not ended").await;
    wait_answer(port, "/livez", 200, "ok").await;
}

/// Reads what a collector receives, until it contains all of these words.
async fn receive_until(listener: &tokio::net::TcpListener, words: &[&str]) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut received = String::new();
    while !words.iter().all(|word| received.contains(word)) {
        let (mut stream, _) = listener.accept().await.unwrap();
        let mut request = Vec::new();
        loop {
            let mut buffer = [0; 65536];
            let read = stream.read(&mut buffer).await.unwrap();
            request.extend_from_slice(&buffer[..read]);
            let text = String::from_utf8_lossy(&request);
            let whole = text.split_once("\r\n\r\n").is_some_and(|(head, _)| {
                let length = head.to_ascii_lowercase();
                let length = length
                    .split("content-length: ")
                    .nth(1)
                    .and_then(|l| l.lines().next()?.parse::<usize>().ok());
                request.len() >= head.len() + 4 + length.unwrap_or(0)
            });
            if read == 0 || whole {
                break;
            }
        }
        received += &String::from_utf8_lossy(&request);
        stream
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await
            .unwrap();
    }
    received
}

#[tokio::test]
async fn traces_have_a_span_a_pass_with_the_calls_of_aws_in_it() {
    let collector = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let endpoint = format!("--otlp-endpoint=http://{}", collector.local_addr().unwrap());
    let case = Case::new("traces", &[&endpoint]).await;
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
    let uid = case.get("docs").await.metadata.uid.unwrap();
    let words = [
        "/v1/traces",
        "reconcile",
        &uid,
        "codestar-connections:CreateConnection",
        "request_id",
    ];
    let received = tokio::time::timeout(LIMIT, receive_until(&collector, &words)).await;
    assert!(received.is_ok(), "the collector has not received {words:?}");
}
