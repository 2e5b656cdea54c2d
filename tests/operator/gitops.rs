//! Argo CD's health script, run over what the operator really writes.

use mlua::{Lua, LuaSerdeExt};
use serde_json::{Value, json};
use support::aws::{Effect, Fault, When};

use crate::case::{Case, condition};

/// Health and message, as Argo CD would show them.
fn health(object: &Value) -> (String, String) {
    let script = std::fs::read_to_string(support::root().join("deploy/argocd/health.lua")).unwrap();
    let lua = Lua::new();
    // The API server leaves null fields out, so Argo CD never sees one.
    lua.globals()
        .set("obj", lua.to_value(object).unwrap())
        .unwrap();
    let shown: Value = lua.from_value(lua.load(script).eval().unwrap()).unwrap();
    let text = |key: &str| shown[key].as_str().unwrap_or_default().to_owned();
    (text("status"), text("message"))
}

async fn health_of(case: &Case, name: &str) -> (String, String) {
    health(&serde_json::to_value(case.get(name).await).unwrap())
}

#[tokio::test]
async fn argo_shows_what_the_table_says() {
    let case = Case::new("argo", &[]).await;
    let (repository, commit) = case.create_repository().await;
    // The operator has not reconciled the object yet.
    let fresh = json!({"metadata": {"generation": 1}, "spec": {"repository": repository}});
    assert_eq!(health(&fresh).0, "Progressing");
    case.apply("docs", json!({"repository": repository}))
        .await
        .unwrap();
    let pending = case
        .wait_condition("docs", "Ready", "False", "ConnectionPending")
        .await;
    let (status, message) = health_of(&case, "docs").await;
    assert_eq!(status, "Suspended");
    assert!(
        message.contains(&pending.connection.unwrap().authorize_url.unwrap()),
        "{message}"
    );

    case.aws().hold_executions(&case.account, true);
    case.authorize("docs").await;
    case.wait_condition("docs", "Ready", "Unknown", "NotYetDelivered")
        .await;
    assert_eq!(health_of(&case, "docs").await.0, "Progressing");
    case.aws().hold_executions(&case.account, false);
    let ready = case.wait_delivered("docs", &commit).await;
    assert_eq!(
        health_of(&case, "docs").await,
        (
            "Healthy".to_owned(),
            condition(&ready, "Ready").unwrap().message
        )
    );

    case.apply("docs", json!({"repository": repository, "branch": "none"}))
        .await
        .unwrap();
    let failed = case
        .wait_condition("docs", "Ready", "False", "DeliveryFailed")
        .await;
    assert_eq!(
        health_of(&case, "docs").await,
        (
            "Degraded".to_owned(),
            condition(&failed, "Ready").unwrap().message
        )
    );
    case.apply("docs", json!({"repository": repository, "suspend": true}))
        .await
        .unwrap();
    case.wait_condition("docs", "Provisioned", "Unknown", "Suspended")
        .await;
    assert_eq!(health_of(&case, "docs").await.0, "Suspended");

    case.apply(
        "stalled",
        json!({"repository": repository, "name": "chosen"}),
    )
    .await
    .unwrap();
    let stalled = case
        .wait_condition("stalled", "Stalled", "True", "NotAllowed")
        .await;
    assert_eq!(
        health_of(&case, "stalled").await,
        (
            "Degraded".to_owned(),
            condition(&stalled, "Stalled").unwrap().message
        )
    );

    let denied = Effect::Fail {
        status: 403,
        code: "AccessDenied".into(),
        message: "no".into(),
    };
    case.aws().fault(Fault::new(
        &case.account,
        "sns:DeleteTopic",
        When::Always,
        denied,
    ));
    case.delete("docs").await;
    case.wait_condition("docs", "Stalled", "True", "DeletionBlocked")
        .await;
    assert_eq!(health_of(&case, "docs").await.0, "Degraded");
    case.aws().clear_faults(&case.account);
    case.wait_gone("docs").await;
}
