//! `repofanout check`: reports what is missing in the cluster and in AWS before the operator can
//! work.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ListParams, PostParams};
use kube::runtime::conditions::is_crd_established;
use kube::runtime::wait::Condition;
use kube::{Api, Client, CustomResourceExt};

use crate::api;
use crate::api::{GROUP, RepoFanout, RepoFanoutClass};
use crate::cli::{Check, Shared};
use crate::commands::check_aws::amazon;
use crate::commands::client;
use crate::commands::report::Report;

/// Minor version of the oldest Kubernetes 1.x that is supported.
const OLDEST_MINOR: u32 = 34;

/// Prints what is present and what is missing.
///
/// # Errors
/// Something is missing.
pub async fn check(check: Check) -> Result<(), String> {
    let mut report = Report::default();
    match client().await {
        Ok(client) => kubernetes(&mut report, &check.shared, &client).await,
        Err(wrong) => {
            report.add("Kubernetes", Err(wrong));
        }
    }
    amazon(&mut report, &check).await;
    match report.missing {
        0 => Ok(()),
        1 => Err("one thing is missing".to_owned()),
        n => Err(format!("{n} things are missing")),
    }
}

async fn kubernetes(report: &mut Report, shared: &Shared, client: &Client) {
    let version = client
        .apiserver_version()
        .await
        .map_err(|e| format!("the API server does not answer: {e}"));
    let version = version.and_then(|v| {
        let minor: u32 = v
            .minor
            .trim_end_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap_or(0);
        let known = v.major != "1" || minor >= OLDEST_MINOR;
        let wrong = format!(
            "{} is older than 1.{OLDEST_MINOR}, the oldest supported version; upgrade the cluster",
            v.git_version
        );
        known.then_some(v.git_version).ok_or(wrong)
    });
    if !report.add("Kubernetes", version) {
        return;
    }
    for name in [RepoFanout::crd_name(), RepoFanoutClass::crd_name()] {
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        // With this selector the list needs no more permissions than the operator has.
        let listed = api
            .list(&ListParams::default().fields(&format!("metadata.name={name}")))
            .await;
        let found = listed
            .map_err(|e| format!("cannot be read: {e}"))
            .and_then(|listed| {
                let crd = listed.items.into_iter().next();
                match api::unusable(name, crd.as_ref()) {
                    Some(wrong) => Err(wrong),
                    None if !is_crd_established().matches_object(crd.as_ref()) => Err(
                        "the API server has not accepted the names of the CustomResourceDefinition; its conditions say why"
                            .to_owned(),
                    ),
                    None => Ok("established".to_owned()),
                }
            });
        report.add(&format!("CustomResourceDefinition {name}"), found);
    }
    for wanted in rules(shared, client) {
        let what = describe(&wanted);
        let allowed = allowed(client, wanted).await;
        report.add(&format!("permission to {what}"), allowed);
    }
}

/// Permissions that the chart grants to the operator's ServiceAccount.
fn rules(shared: &Shared, client: &Client) -> Vec<ResourceAttributes> {
    let rule =
        |group: &str, resource: &str, verb: &str, name: Option<&str>, namespace: Option<&str>| {
            let (resource, subresource) = match resource.split_once('/') {
                Some((resource, sub)) => (resource, Some(sub.to_owned())),
                None => (resource, None),
            };
            ResourceAttributes {
                group: Some(group.to_owned()),
                resource: Some(resource.to_owned()),
                subresource,
                verb: Some(verb.to_owned()),
                name: name.map(str::to_owned),
                namespace: namespace.map(str::to_owned),
                ..ResourceAttributes::default()
            }
        };
    let mut rules = Vec::new();
    for verb in ["list", "watch", "patch"] {
        rules.push(rule(GROUP, "repofanoutclasses", verb, None, None));
    }
    rules.push(rule(
        GROUP,
        "repofanoutclasses/status",
        "update",
        None,
        None,
    ));
    for name in [RepoFanout::crd_name(), RepoFanoutClass::crd_name()] {
        for verb in ["list", "watch"] {
            rules.push(rule(
                "apiextensions.k8s.io",
                "customresourcedefinitions",
                verb,
                Some(name),
                None,
            ));
        }
    }
    for verb in ["list", "watch"] {
        rules.push(rule("", "namespaces", verb, None, None));
    }
    if shared.cluster_id.is_none() {
        rules.push(rule("", "namespaces", "get", Some("kube-system"), None));
    }
    // In every namespace: a namespace that is being deleted may lose its Roles before its objects.
    for verb in ["list", "watch", "patch"] {
        rules.push(rule(GROUP, "repofanouts", verb, None, None));
    }
    rules.push(rule(GROUP, "repofanouts/status", "update", None, None));
    let mut served: Vec<Option<&str>> = shared
        .watch_namespaces
        .iter()
        .map(|n| Some(n.as_str()))
        .collect();
    if served.is_empty() {
        served.push(None);
    }
    // Classes have no namespace, so their events are written to `default`.
    let default =
        (!served.contains(&None) && !served.contains(&Some("default"))).then_some(Some("default"));
    for namespace in served.iter().copied().chain(default) {
        for verb in ["create", "patch"] {
            rules.push(rule("events.k8s.io", "events", verb, None, namespace));
        }
    }
    if shared.leader_elect {
        let namespace = shared
            .lease_namespace
            .as_deref()
            .unwrap_or_else(|| client.default_namespace());
        let name = Some(&*shared.controller_name);
        rules.push(rule(
            "coordination.k8s.io",
            "leases",
            "create",
            None,
            Some(namespace),
        ));
        for verb in ["get", "update"] {
            rules.push(rule(
                "coordination.k8s.io",
                "leases",
                verb,
                name,
                Some(namespace),
            ));
        }
    }
    rules
}

fn describe(rule: &ResourceAttributes) -> String {
    let word = |text: &Option<String>| text.clone().unwrap_or_default();
    let mut text = format!("{} {}", word(&rule.verb), word(&rule.resource));
    if let Some(sub) = &rule.subresource {
        text = format!("{text}/{sub}");
    }
    if let Some(group) = rule.group.as_ref().filter(|g| !g.is_empty()) {
        text = format!("{text}.{group}");
    }
    if let Some(name) = &rule.name {
        text = format!("{text} {name}");
    }
    match &rule.namespace {
        Some(namespace) => format!("{text} in namespace {namespace}"),
        None => text,
    }
}

async fn allowed(client: &Client, wanted: ResourceAttributes) -> Result<String, String> {
    let api: Api<SelfSubjectAccessReview> = Api::all(client.clone());
    let spec = SelfSubjectAccessReviewSpec {
        resource_attributes: Some(wanted),
        ..Default::default()
    };
    let review = SelfSubjectAccessReview {
        spec,
        ..Default::default()
    };
    let review = api
        .create(&PostParams::default(), &review)
        .await
        .map_err(|e| format!("the API server did not answer the access review: {e}"))?;
    match review.status {
        Some(status) if status.allowed => Ok("granted".to_owned()),
        _ => Err(
            "not granted; use the chart's Roles and ClusterRoles (rbac.create), or add the permission to your own"
                .to_owned(),
        ),
    }
}
