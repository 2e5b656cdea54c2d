//! What a fan-out named `docs` comes to, whatever strikes on the way.

use std::time::{Duration, Instant};

use repofanout::api::status::RepoFanoutStatus;
use repofanout::api::{RECONCILE_REQUESTED_AT, RepoFanout};

use crate::case::{Case, LIMIT, is_true};
use crate::readers::{readable_arns, statements};

/// Restarts the operator whenever it was killed, and authorizes what is PENDING, until the fan-out
/// has delivered this commit and settled.
pub async fn settle_delivered(case: &mut Case, commit: &str) {
    settle(case, commit, |_| true).await;
}

/// The same, until the status also holds what the story wants.
pub async fn settle(case: &mut Case, commit: &str, holds: impl Fn(&RepoFanoutStatus) -> bool) {
    survive_until(
        case,
        &format!("{commit} has not settled"),
        |case, object| {
            let object = object.expect("the fan-out is gone");
            let status = object.status.clone().unwrap_or_default();
            let delivered = status.delivered.as_ref().and_then(|d| d.commit.as_ref());
            let is_observed = status.observed_generation == object.metadata.generation;
            is_observed
                && is_true(&status, "Ready")
                && is_true(&status, "Provisioned")
                && delivered.is_some_and(|c| c.id == commit)
                && is_idle(case)
                && holds(&status)
        },
    )
    .await;
}

/// Restarts the operator whenever it was killed, until the fan-out is deleted.
pub async fn settle_gone(case: &mut Case) {
    survive_until(case, "the fan-out is still there", |_, object| {
        object.is_none()
    })
    .await;
}

async fn survive_until(
    case: &mut Case,
    missing: &str,
    holds: impl Fn(&Case, Option<&RepoFanout>) -> bool,
) {
    let end = Instant::now() + LIMIT;
    loop {
        restart_if_killed(case).await;
        let object = case.api().get_opt("docs").await.expect("the API server");
        let status = object.as_ref().and_then(|o| o.status.as_ref());
        if let Some(connection) = status.and_then(|s| s.connection.as_ref())
            && let (Some(arn), Some("PENDING")) = (&connection.arn, connection.status.as_deref())
        {
            // While there are two, a person may click either; the spare one may be deleted by then.
            let _ = case.aws().authorize(arn);
        }
        if holds(case, object.as_ref()) {
            return;
        }
        assert!(
            Instant::now() < end,
            "{missing}: {status:#?}\n{}",
            case.log()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

pub async fn restart_if_killed(case: &mut Case) {
    if case.operator.as_mut().is_some_and(|o| o.has_ended()) {
        case.start().await;
    }
}

/// Whether no execution is in progress.
fn is_idle(case: &Case) -> bool {
    let pipelines = case.aws().pipelines(&case.account);
    let mut executions = pipelines.keys().flat_map(|name| case.executions(name));
    executions.all(|execution| execution.status != "InProgress")
}

/// How much stands for the fan-out.
pub struct Standing {
    /// AVAILABLE connections in the account.
    pub connections: usize,
    /// Resources on the fan-out's status, without its reader policy.
    pub resources: usize,
}

/// A fan-out with everything of its own.
pub const OWN: Standing = Standing {
    connections: 1,
    resources: 7,
};

/// Everything stands once, and a further reconcile writes nothing.
pub async fn assert_whole(case: &mut Case) {
    assert_stands(case, &OWN).await;
    assert_quiet(case).await;
}

/// Every connection of the account is AVAILABLE, and there are so many.
pub fn assert_connections(case: &Case, count: usize) {
    let connections = case.aws().connections(&case.account);
    let statuses: Vec<&str> = connections.iter().map(|c| &*c.status).collect();
    assert_eq!(statuses, vec!["AVAILABLE"; count], "{}", case.log());
}

/// One pipeline and one rule stand, each execution came to its end, the copy is there, and the status
/// records what stands.
pub async fn assert_stands(case: &Case, standing: &Standing) {
    assert_connections(case, standing.connections);
    let aws = case.aws();
    let (pipelines, rules) = (aws.pipelines(&case.account), aws.rules(&case.account));
    assert_eq!((pipelines.len(), rules.len()), (1, 1));
    let executions = case.executions(pipelines.keys().next().unwrap());
    assert!(
        executions
            .iter()
            .all(|e| e.status == "Succeeded" || e.status == "Cancelled"),
        "{executions:?}"
    );
    let object = case.get("docs").await;
    let status = object.status.unwrap_or_default();
    assert!(case.file(&status, "README.md").await.is_some());
    let has_readers = object
        .spec
        .destination
        .is_some_and(|destination| destination.readers.is_some());
    let resources: Vec<&String> = status.resources.values().collect();
    assert_eq!(
        resources.len(),
        standing.resources + usize::from(has_readers),
        "{resources:?}"
    );
    if has_readers {
        let delivered = status.delivered.clone().unwrap();
        let policy = statements(case, &delivered.bucket).await;
        let prefix = format!("arn:aws:s3:::{}/{}/*", delivered.bucket, delivered.prefix);
        assert_eq!(readable_arns(&policy), [prefix], "{policy:?}");
    }
}

/// A class of the case is ready, and shares one connection and one of each resource.
pub async fn assert_class_stands(case: &Case, class: &str) {
    let status = case
        .wait_class(class, "not ready", |s| is_true(s, "Ready"))
        .await;
    assert_eq!((status.resources.len(), status.connections.len()), (7, 1));
    let list = [("Action", "ListRoles"), ("PathPrefix", "/repofanout/")];
    let roles = case.iam(&list).await.unwrap();
    assert_eq!(roles.matches("<RoleName>rf-").count(), 1, "{roles}");
}

/// The authorization is kept, and nothing else is left.
pub fn assert_nothing_is_left(case: &Case) {
    assert_connections(case, 1);
    let pipelines = case.aws().pipelines(&case.account);
    let rules = case.aws().rules(&case.account);
    assert!(
        pipelines.is_empty() && rules.is_empty(),
        "{pipelines:?} {rules:?}"
    );
}

/// A further reconcile writes nothing.
pub async fn assert_quiet(case: &mut Case) {
    let writes = case.writes();
    case.annotate("docs", RECONCILE_REQUESTED_AT, "after").await;
    // The fault may have killed the operator at the very last write.
    survive_until(case, "the reconcile is not acknowledged", |_, object| {
        let status = object.and_then(|o| o.status.as_ref());
        status.is_some_and(|s| s.last_handled_reconcile_at.as_deref() == Some("after"))
    })
    .await;
    assert_eq!(case.writes(), writes, "a further reconcile writes");
}
