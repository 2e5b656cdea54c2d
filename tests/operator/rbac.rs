//! The permissions that the chart grants to the operator are enough, as every other test runs with
//! them, and none is too much.

use std::collections::BTreeSet;

use futures::StreamExt;
use serde_json::{Value, json};

use crate::case::{Case, LIMIT, REGION, condition};
use crate::classes::shared_spec;

/// One verb on one resource, and its place in the chart's manifests.
struct Granted {
    permission: String,
    object: usize,
    rule: usize,
    verb: usize,
}

/// All permissions of the ServiceAccount; the chart binds the roles for people to nobody.
fn permissions(objects: &[Value]) -> Vec<Granted> {
    let bound: BTreeSet<(&str, &str)> = objects
        .iter()
        .filter(|o| {
            o["kind"]
                .as_str()
                .is_some_and(|k| k.ends_with("RoleBinding"))
        })
        .map(|o| {
            (
                o["roleRef"]["kind"].as_str().unwrap(),
                o["roleRef"]["name"].as_str().unwrap(),
            )
        })
        .collect();
    let mut all = Vec::new();
    for (object, manifest) in objects.iter().enumerate() {
        let name = (
            manifest["kind"].as_str().unwrap(),
            manifest["metadata"]["name"].as_str().unwrap(),
        );
        for (rule, it) in manifest["rules"]
            .as_array()
            .into_iter()
            .flatten()
            .enumerate()
            .filter(|_| bound.contains(&name))
        {
            assert_eq!(
                it["resources"].as_array().unwrap().len(),
                1,
                "a rule a resource: {it}"
            );
            for (verb, word) in it["verbs"].as_array().unwrap().iter().enumerate() {
                let permission = format!(
                    "{} {}",
                    word.as_str().unwrap(),
                    it["resources"][0].as_str().unwrap()
                );
                all.push(Granted {
                    permission,
                    object,
                    rule,
                    verb,
                });
            }
        }
    }
    all
}

/// The spec of a class that selects namespaces by their labels.
fn class_spec(case: &Case) -> Value {
    let mut spec = shared_spec(case);
    spec["allowedNamespaces"] = json!({"selector": {"matchLabels": {"team": "docs"}}});
    spec
}

/// Creates a class and a fan-out, and the operator goes as far as it can.
async fn apply_both(case: &Case) {
    let class = case.class_name("org");
    case.apply_class(&class, class_spec(case), false)
        .await
        .unwrap();
    case.apply("docs", json!({"repository": "acme/none"}))
        .await
        .unwrap();
}

#[tokio::test]
async fn each_permission_of_the_chart_is_needed() {
    let probe = Case::without_operator("rbac-probe", &[]).await;
    let count = permissions(&probe.chart_rbac()).len();
    assert!(count > 15, "{count}");
    let tried = futures::stream::iter(0..count)
        .map(run_without)
        .buffer_unordered(4);
    let unneeded: Vec<String> = tried.filter_map(std::future::ready).collect().await;
    assert!(
        unneeded.is_empty(),
        "granted, and never missed: {}",
        unneeded.join("\n")
    );
}

/// Whether the statuses of both objects describe their last generations.
async fn both_are_observed(case: &Case) -> bool {
    let (object, class) = (
        case.get("docs").await,
        case.classes().get(&case.class_name("org")).await.unwrap(),
    );
    let fan_out = object.status.and_then(|s| condition(&s, "Ready"));
    let shared = class.status.and_then(|s| condition(&s, "Ready"));
    fan_out.is_some_and(|c| c.observed_generation == object.metadata.generation)
        && shared.is_some_and(|c| c.observed_generation == class.metadata.generation)
}

/// Runs the operator without one permission; answers that permission if the operator does not miss
/// it.
async fn run_without(index: usize) -> Option<String> {
    let mut case = Case::without_operator(&format!("rbac-{index}"), &[]).await;
    case.serve_own_classes();
    // Without the flag, the cluster's id is the uid of kube-system, which the operator has to read.
    case.remove_flag("--cluster-id=tests");
    let mut objects = case.chart_rbac();
    let taken = permissions(&objects).swap_remove(index);
    objects[taken.object]["rules"][taken.rule]["verbs"]
        .as_array_mut()
        .unwrap()
        .remove(taken.verb);
    if objects[taken.object]["rules"][taken.rule]["verbs"] == json!([]) {
        objects[taken.object]["rules"]
            .as_array_mut()
            .unwrap()
            .remove(taken.rule);
    }
    case.grant(objects).await;
    case.set_proxy().await;
    case.start_as_granted();
    apply_both(&case).await;
    let end = std::time::Instant::now() + LIMIT;
    // A repeated warning patches its event, so the object is refused for the same two reasons again
    // and again, and is valid between.
    let refused = json!({"repository": "acme/none", "destination": {"existingBucket": "theirs"}});
    let specs = [
        json!({"repository": "acme/none"}),
        refused,
        json!({"repository": "acme/no/such"}),
    ];
    for (step, spec) in specs.iter().cycle().enumerate() {
        let again = step % 2 == 0;
        case.apply("docs", spec.clone()).await.unwrap();
        let mut class = class_spec(&case);
        if again {
            let arn = format!(
                "arn:aws:codeconnections:{REGION}:{}:connection/none",
                case.account
            );
            class["connections"]["ghost"] = json!({"owner": "ghost", "existingARN": arn});
        }
        case.apply_class(&case.class_name("org"), class, false)
            .await
            .unwrap();
        // The next change waits until this one is observed; a permission that is not granted may
        // keep the operator from ever observing it.
        for _ in 0..10 {
            let refused = case.proxy.as_ref().unwrap().refused();
            if refused.contains(&taken.permission) {
                return None;
            }
            if std::time::Instant::now() > end {
                return Some(format!(
                    "{} (refused: {refused:?})\n{}",
                    taken.permission,
                    case.log()
                ));
            }
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
            if both_are_observed(&case).await {
                break;
            }
        }
    }
    None
}
