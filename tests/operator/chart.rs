//! The chart: what it renders, what it refuses, and whether the API server accepts it.

use repofanout::api::{SCHEMA, SCHEMA_ANNOTATION};
use serde_json::{Value, json};

use crate::case::{Case, world};

fn render(flags: &[&str]) -> Result<Vec<Value>, String> {
    let text = world().helm.template("fan", "fan-system", flags)?;
    let all: Vec<Value> = serde_saphyr::from_multiple(&text).map_err(|e| e.to_string())?;
    Ok(all.into_iter().filter(|v| !v.is_null()).collect())
}

/// The only object of this kind.
fn only_of_kind<'a>(objects: &'a [Value], kind: &str) -> &'a Value {
    let mut found = objects.iter().filter(|o| o["kind"] == kind);
    let object = found.next().unwrap_or_else(|| panic!("no {kind}"));
    assert!(found.next().is_none(), "several of {kind}");
    object
}

fn has_kind(objects: &[Value], kind: &str) -> bool {
    objects.iter().any(|o| o["kind"] == kind)
}

#[test]
fn lint_finds_nothing_and_a_typo_fails() {
    let chart = world().helm.chart.display().to_string();
    world()
        .helm
        .run(&["lint", "--strict", "--kube-version", "1.37.0", &chart])
        .unwrap();
    for (typo, named) in [
        ("--set=replica=3", "replica"),
        ("--set=operator.region.name=x", "region"),
        ("--set=log.format=xml", "format"),
        ("--set=operator.namePrefix=UPPER", "namePrefix"),
        ("--set=metrics.serviceMonitor.enabled=perhaps", "enabled"),
    ] {
        let refused = render(&[typo]).expect_err(typo);
        assert!(
            refused.contains("values don't meet the specifications") && refused.contains(named),
            "{typo}: {refused}"
        );
    }
    let refused = render(&["--set=replicas=2", "--set=leaderElection.enabled=false"]).unwrap_err();
    assert!(
        refused.contains("more than one needs leaderElection.enabled"),
        "{refused}"
    );
}

#[test]
fn by_default_two_restricted_replicas_with_least_rights() {
    let objects = render(&[]).unwrap();
    let deployment = only_of_kind(&objects, "Deployment");
    assert_eq!(deployment["spec"]["replicas"], 2);
    assert_eq!(
        only_of_kind(&objects, "PodDisruptionBudget")["spec"]["maxUnavailable"],
        1
    );
    let pod = &deployment["spec"]["template"]["spec"];
    assert_eq!(
        pod["topologySpreadConstraints"].as_array().unwrap().len(),
        2
    );
    assert_eq!(
        pod["containers"][0]["securityContext"]["readOnlyRootFilesystem"],
        true
    );
    assert_eq!(
        pod["containers"][0]["livenessProbe"]["httpGet"]["path"],
        "/livez"
    );
    assert_eq!(
        pod["containers"][0]["readinessProbe"]["httpGet"]["path"],
        "/readyz"
    );
    let crds: Vec<&Value> = objects
        .iter()
        .filter(|o| o["kind"] == "CustomResourceDefinition")
        .collect();
    assert_eq!(crds.len(), 2);
    for crd in crds {
        assert_eq!(
            crd["metadata"]["annotations"]["helm.sh/resource-policy"],
            "keep"
        );
        assert_eq!(
            crd["metadata"]["annotations"][SCHEMA_ANNOTATION],
            SCHEMA.to_string()
        );
    }
    // Only the CRDs may be read in all namespaces, and nobody may write secrets or roles.
    let text = serde_json::to_string(
        &objects
            .iter()
            .filter(|o| o["kind"] == "ClusterRole")
            .collect::<Vec<_>>(),
    )
    .unwrap();
    assert!(
        !text.contains("secrets") && !text.contains("\"*\""),
        "{text}"
    );
    let view = objects
        .iter()
        .find(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == "fan-repofanout-view")
        .unwrap();
    assert_eq!(
        view["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"],
        "true"
    );
    let edit = objects
        .iter()
        .find(|o| o["metadata"]["name"] == "fan-repofanout-edit")
        .unwrap();
    assert_eq!(
        edit["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"],
        Value::Null
    );
    for kind in [
        "NetworkPolicy",
        "ServiceMonitor",
        "PodMonitor",
        "PrometheusRule",
        "ConfigMap",
        "RepoFanoutClass",
    ] {
        assert!(!has_kind(&objects, kind), "{kind}");
    }
}

/// Each option changes what it describes, and nothing else.
#[test]
fn each_option_reaches_its_place() {
    let pod = |flags: &[&str]| {
        only_of_kind(&render(flags).unwrap(), "Deployment")["spec"]["template"]["spec"].clone()
    };
    let container = |flags: &[&str]| pod(flags)["containers"][0].clone();
    let env = |flags: &[&str], name: &str| {
        let all = container(flags)["env"].clone();
        all.as_array()
            .unwrap()
            .iter()
            .find(|e| e["name"] == name)
            .map_or(Value::Null, |e| e["value"].clone())
    };
    let image = [
        "--set=image.repository=a/b",
        "--set=global.imageRegistry=mirror.example",
        "--set=image.tag=v1",
    ];
    assert_eq!(container(&image)["image"], "mirror.example/a/b:v1");
    assert_eq!(
        container(&["--set=image.digest=sha256:00"])["image"],
        "repofanout@sha256:00"
    );
    assert_eq!(
        pod(&["--set=global.imagePullSecrets={s}"])["imagePullSecrets"],
        json!([{"name": "s"}])
    );
    assert_eq!(
        env(&["--set=operator.clusterID=c"], "REPOFANOUT_CLUSTER_ID"),
        "c"
    );
    assert_eq!(
        env(&["--set=operator.namePrefix=x-"], "REPOFANOUT_NAME_PREFIX"),
        "x-"
    );
    assert_eq!(
        env(
            &["--set=operator.allowNames=true"],
            "REPOFANOUT_ALLOW_NAMES"
        ),
        "true"
    );
    assert_eq!(
        env(
            &["--set=operator.allowExisting={a,b}"],
            "REPOFANOUT_ALLOW_EXISTING"
        ),
        "a,b"
    );
    assert_eq!(
        env(
            &["--set=operator.allowReaders={1,o-x}"],
            "REPOFANOUT_ALLOW_READERS"
        ),
        "1,o-x"
    );
    assert_eq!(
        env(
            &["--set=operator.permissionsBoundary=b"],
            "REPOFANOUT_PERMISSIONS_BOUNDARY"
        ),
        "b"
    );
    assert_eq!(
        env(
            &["--set=operator.requireClass=true"],
            "REPOFANOUT_REQUIRE_CLASS"
        ),
        "true"
    );
    assert_eq!(
        env(
            &["--set=operator.allowPrune=true"],
            "REPOFANOUT_ALLOW_PRUNE"
        ),
        "true"
    );
    assert_eq!(
        env(&["--set=operator.region=eu-west-1"], "REPOFANOUT_REGION"),
        "eu-west-1"
    );
    assert_eq!(
        env(&["--set=operator.endpointURL=http://x"], "AWS_ENDPOINT_URL"),
        "http://x"
    );
    assert_eq!(
        env(
            &["--set=operator.s3PathStyle=true"],
            "REPOFANOUT_S3_PATH_STYLE"
        ),
        "true"
    );
    assert_eq!(
        env(
            &["--set=operator.controllerName=two"],
            "REPOFANOUT_CONTROLLER_NAME"
        ),
        "two"
    );
    assert_eq!(
        env(
            &["--set=watchNamespaces={a,b}"],
            "REPOFANOUT_WATCH_NAMESPACES"
        ),
        "a,b"
    );
    assert_eq!(
        env(
            &["--set=extraEnv[0].name=A", "--set=extraEnv[0].value=b"],
            "A"
        ),
        "b"
    );
    for (flag, argument) in [
        ("--set=operator.readOnly=true", "--read-only"),
        ("--set=operator.concurrency=4", "--concurrency=4"),
        ("--set=operator.pollInterval=5m", "--poll-interval=5m"),
        ("--set=operator.settleTime=1m", "--settle-time=1m"),
        ("--set=operator.sourceLimit=5m", "--source-limit=5m"),
        ("--set=operator.deployLimit=2h", "--deploy-limit=2h"),
        (
            "--set=operator.awsRates={codepipeline=20,s3=50}",
            "--aws-rate=codepipeline=20,s3=50",
        ),
        (
            "--set=leaderElection.leaseDuration=30s",
            "--lease-duration=30s",
        ),
        ("--set=log.level=debug", "--log=debug"),
        ("--set=log.format=text", "--log-format=text"),
        (
            "--set=tracing.otlpEndpoint=http://o:4318",
            "--otlp-endpoint=http://o:4318",
        ),
        ("--set=extraArgs={--x}", "--x"),
        ("--set=port=9000", "--listen=0.0.0.0:9000"),
    ] {
        let arguments = container(&[flag])["args"].clone();
        assert!(
            arguments.as_array().unwrap().contains(&json!(argument)),
            "{flag}: {arguments}"
        );
        // The program knows every argument.
        assert!(
            !container(&[])["args"]
                .as_array()
                .unwrap()
                .contains(&json!(argument)),
            "{flag} changes nothing"
        );
    }
    let openshift = pod(&["--set=openshift=true"])["securityContext"].clone();
    assert_eq!(
        (&openshift["runAsUser"], &openshift["runAsNonRoot"]),
        (&Value::Null, &json!(true))
    );
    for (flag, key, value) in [
        ("--set=priorityClassName=p", "priorityClassName", json!("p")),
        ("--set=hostNetwork=true", "hostNetwork", json!(true)),
        ("--set=dnsPolicy=None", "dnsPolicy", json!("None")),
        (
            "--set-json=dnsConfig={\"nameservers\":[\"1.1.1.1\"]}",
            "dnsConfig",
            json!({"nameservers": ["1.1.1.1"]}),
        ),
        (
            "--set-json=tolerations=[{\"key\":\"k\"}]",
            "tolerations",
            json!([{"key": "k"}]),
        ),
        (
            "--set-json=affinity={\"nodeAffinity\":{}}",
            "affinity",
            json!({"nodeAffinity": {}}),
        ),
        (
            "--set-json=extraVolumes=[{\"name\":\"v\"}]",
            "volumes",
            json!([{"name": "v"}]),
        ),
        (
            "--set-json=initContainers=[{\"name\":\"i\"}]",
            "initContainers",
            json!([{"name": "i"}]),
        ),
        (
            "--set-json=hostAliases=[{\"ip\":\"1.1.1.1\"}]",
            "hostAliases",
            json!([{"ip": "1.1.1.1"}]),
        ),
        (
            "--set=terminationGracePeriodSeconds=60",
            "terminationGracePeriodSeconds",
            json!(60),
        ),
    ] {
        assert_eq!(pod(&[flag])[key], value, "{flag}");
    }
    let account =
        render(&["--set-json=serviceAccount.annotations={\"eks.amazonaws.com/role-arn\":\"arn\"}"])
            .unwrap();
    assert_eq!(
        only_of_kind(&account, "ServiceAccount")["metadata"]["annotations"]["eks.amazonaws.com/role-arn"],
        "arn"
    );
    let named = render(&[
        "--set=serviceAccount.create=false",
        "--set=serviceAccount.name=mine",
    ])
    .unwrap();
    assert!(!has_kind(&named, "ServiceAccount"));
    assert_eq!(
        only_of_kind(&named, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"],
        "mine"
    );
    let labelled = render(&[
        "--set=commonLabels.team=x",
        "--set-string=podAnnotations.a=b",
    ])
    .unwrap();
    assert!(
        labelled
            .iter()
            .all(|o| o["metadata"]["labels"]["team"] == "x"),
        "{labelled:?}"
    );
    let extra = render(&[
        "--set-json=extraObjects=[{\"kind\":\"Extra\",\"metadata\":{\"name\":\"{{ .Release.Name }}\"}}]",
    ])
    .unwrap();
    assert_eq!(only_of_kind(&extra, "Extra")["metadata"]["name"], "fan");
    assert!(!has_kind(
        &render(&["--set=rbac.create=false"]).unwrap(),
        "ClusterRole"
    ));
    assert!(!has_kind(
        &render(&["--set=crds.enabled=false"]).unwrap(),
        "CustomResourceDefinition"
    ));
    assert!(!has_kind(
        &render(&["--set=replicas=1"]).unwrap(),
        "PodDisruptionBudget"
    ));
}

#[test]
fn in_some_namespaces_roles_grant_what_does_not_have_to_outlive_them() {
    let objects = render(&["--set=watchNamespaces={a,b}"]).unwrap();
    let binding = only_of_kind(
        &objects
            .iter()
            .filter(|o| o["kind"] == "ClusterRoleBinding")
            .cloned()
            .collect::<Vec<_>>(),
        "ClusterRoleBinding",
    )
    .clone();
    let role = objects
        .iter()
        .find(|o| o["kind"] == "ClusterRole" && o["metadata"]["name"] == binding["roleRef"]["name"])
        .unwrap();
    let resources: Vec<&Value> = role["rules"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| &r["resources"][0])
        .collect();
    // Without rights of its own, the operator could not finish the objects of a namespace that is
    // deleted: the namespace's Roles are deleted first.
    assert!(
        resources.contains(&&json!("repofanouts")) && !resources.contains(&&json!("events")),
        "{resources:?}"
    );
    let mut places: Vec<&str> = objects
        .iter()
        .filter(|o| o["kind"] == "Role")
        .filter_map(|o| o["metadata"]["namespace"].as_str())
        .collect();
    places.sort_unstable();
    assert_eq!(places, ["a", "b", "default", "fan-system"]);
}

#[test]
fn monitors_follow_what_the_cluster_knows() {
    let enabled = [
        "--set=metrics.serviceMonitor.enabled=true",
        "--set=metrics.podMonitor.enabled=true",
        "--set=metrics.prometheusRule.enabled=true",
    ];
    let with = |more: &[&str]| render(&[&enabled[..], more].concat());
    for kind in ["ServiceMonitor", "PodMonitor", "PrometheusRule"] {
        assert!(!has_kind(&with(&[]).unwrap(), kind));
        assert!(has_kind(
            &with(&["--set=metrics.renderMode=alwaysRender"]).unwrap(),
            kind
        ));
        let known = ["ServiceMonitor", "PodMonitor", "PrometheusRule"]
            .map(|k| format!("--api-versions=monitoring.coreos.com/v1/{k}"));
        assert!(has_kind(
            &with(&known.each_ref().map(String::as_str)).unwrap(),
            kind
        ));
    }
    let refused = with(&["--set=metrics.renderMode=failIfMissing"]).unwrap_err();
    assert!(
        refused.contains("install the Prometheus operator"),
        "{refused}"
    );
    // The selector of the monitor finds the Service, and the Service finds the pods.
    let objects = with(&["--set=metrics.renderMode=alwaysRender"]).unwrap();
    let (monitor, service) = (
        only_of_kind(&objects, "ServiceMonitor"),
        only_of_kind(&objects, "Service"),
    );
    let labels = service["metadata"]["labels"].as_object().unwrap();
    for (key, value) in monitor["spec"]["selector"]["matchLabels"]
        .as_object()
        .unwrap()
    {
        assert_eq!(labels.get(key), Some(value));
    }
    let pod = &only_of_kind(&objects, "Deployment")["spec"]["template"]["metadata"]["labels"];
    for (key, value) in service["spec"]["selector"].as_object().unwrap() {
        assert_eq!(&pod[key], value);
    }
    let dashboard = render(&["--set=metrics.dashboard.enabled=true"]).unwrap();
    let text = only_of_kind(&dashboard, "ConfigMap")["data"]["repofanout.json"]
        .as_str()
        .unwrap();
    let parsed: Value = serde_json::from_str(text).unwrap();
    assert_eq!(parsed["title"], "RepoFanout");
    // The operator has every metric that the rules and the dashboard name.
    let source = std::fs::read_to_string(support::root().join("src/metrics.rs")).unwrap();
    let rules = serde_json::to_string(only_of_kind(&objects, "PrometheusRule")).unwrap();
    for text in [&rules, text] {
        for name in text.split("repofanout_").skip(1) {
            let name: String = name
                .chars()
                .take_while(|c| c.is_ascii_lowercase() || *c == '_')
                .collect();
            let plain = ["_total", "_bucket", "_seconds"]
                .iter()
                .fold(name.as_str(), |n, s| n.strip_suffix(s).unwrap_or(n));
            let plain = plain.strip_suffix("_seconds").unwrap_or(plain);
            assert!(source.contains(&format!("\"{plain}\"")), "no metric {name}");
        }
    }
}

#[test]
fn a_default_class_is_made_where_the_cluster_knows_classes() {
    let flags = [
        "--set=defaultClass.enabled=true",
        "--set-json=defaultClass.spec={\"artifacts\":{}}",
    ];
    assert!(!has_kind(&render(&flags).unwrap(), "RepoFanoutClass"));
    let known = [
        &flags[..],
        &["--api-versions=repofanout.dev/v1alpha1/RepoFanoutClass"],
    ]
    .concat();
    let objects = render(&known).unwrap();
    let class = only_of_kind(&objects, "RepoFanoutClass");
    assert_eq!(
        class["metadata"]["annotations"]["repofanout.dev/is-default-class"],
        "true"
    );
    assert_eq!(class["spec"], json!({"artifacts": {}}));
}

/// A namespace that enforces restricted Pod Security; the API server is the judge.
#[tokio::test]
async fn the_api_server_takes_it_under_restricted_pod_security() {
    let case = Case::without_operator("chart", &[]).await;
    let label = [
        "label",
        "namespace",
        &case.namespace,
        "pod-security.kubernetes.io/enforce=restricted",
    ];
    world().cluster.kubectl(&label).await.unwrap();
    let everything = [
        "--set=crds.enabled=false",
        "--set=networkPolicy.enabled=true",
        "--set=metrics.dashboard.enabled=true",
        "--set=extraArgs={--x}",
        "--set=hostAliases[0].ip=10.0.0.1",
        "--set=hostAliases[0].hostnames={x}",
        "--set=priorityClassName=system-cluster-critical",
    ];
    let rendered = world()
        .helm
        .template("fan", &case.namespace, &everything)
        .unwrap();
    let lasting = world()
        .helm
        .template(
            "fan",
            &case.namespace,
            &[&everything[..], &["--no-hooks"]].concat(),
        )
        .unwrap();
    world().cluster.dry_run(&lasting).await.unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&rendered).unwrap();
    let pod = |spec: &Value| json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "namespace": case.namespace}, "spec": spec});
    let mut spec = only_of_kind(&objects, "Deployment")["spec"]["template"]["spec"].clone();
    // No scheduler knows the priority class, and no ServiceAccount exists yet.
    for key in ["priorityClassName", "serviceAccountName"] {
        spec.as_object_mut().unwrap().remove(key);
    }
    world()
        .cluster
        .dry_run(&pod(&spec).to_string())
        .await
        .unwrap();
    let test = objects.iter().find(|o| o["kind"] == "Pod").unwrap()["spec"].clone();
    let mut test = test.clone();
    test.as_object_mut().unwrap().remove("serviceAccountName");
    world()
        .cluster
        .dry_run(&pod(&test).to_string())
        .await
        .unwrap();
    // The judge does refuse a pod that breaks the rules.
    spec["containers"][0]["securityContext"]["allowPrivilegeEscalation"] = json!(true);
    let refused = world()
        .cluster
        .dry_run(&pod(&spec).to_string())
        .await
        .unwrap_err();
    assert!(refused.contains("violates PodSecurity"), "{refused}");
}

#[tokio::test]
async fn samples_and_the_kustomize_base_are_taken() {
    for folder in [
        "deploy/samples/repofanout.yaml",
        "deploy/samples/organization.yaml",
    ] {
        let text = std::fs::read_to_string(support::root().join(folder)).unwrap();
        world().cluster.dry_run(&text).await.unwrap();
    }
    let base = support::root().join("deploy/base").display().to_string();
    let built = world()
        .cluster
        .kubectl(&["kustomize", &base])
        .await
        .unwrap();
    let objects: Vec<Value> = serde_saphyr::from_multiple(&built).unwrap();
    assert!(
        has_kind(&objects, "CustomResourceDefinition")
            && has_kind(&objects, "Namespace")
            && has_kind(&objects, "Deployment")
    );
}
