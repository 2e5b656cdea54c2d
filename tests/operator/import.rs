//! Pipelines that somebody else made are imported, and stay as they are.

use serde_json::{Value, json};
use support::aws::{Effect, Fault, When};

use crate::before::run_command;
use crate::case::{Case, REGION, assert_message};

/// Creates a pipeline as a person would by hand or with Terraform: with other names, and with more
/// settings than ours. Answers the ARN of its connection.
pub async fn create_by_hand(case: &Case, name: &str, repository: &str, stages: usize) -> String {
    let (account, aws) = (&case.account, case.aws());
    let call = async |service: &str, operation: &str, input: Value| {
        aws.ask(account, REGION, service, operation, &input)
            .await
            .unwrap_or_else(|e| panic!("{operation}: {e}"))
    };
    for bucket in ["artifacts", "site"] {
        case.create_bucket(&format!("{name}-{bucket}-{account}"))
            .await;
    }
    let form = async |service: &str, fields: &[(&str, &str)]| {
        aws.form(account, REGION, service, fields).await.unwrap()
    };
    let trust = json!({"Version": "2012-10-17", "Statement": [
        {"Effect": "Allow", "Principal": {"Service": "codepipeline.amazonaws.com"}, "Action": "sts:AssumeRole"},
    ]});
    let iam = ("Version", "2010-05-08");
    form(
        "iam",
        &[
            iam,
            ("Action", "CreateRole"),
            ("RoleName", name),
            ("AssumeRolePolicyDocument", &trust.to_string()),
        ],
    )
    .await;
    let all = json!({"Version": "2012-10-17", "Statement": [{"Effect": "Allow", "Action": "*", "Resource": "*"}]});
    let put = [
        iam,
        ("Action", "PutRolePolicy"),
        ("RoleName", name),
        ("PolicyName", "all"),
        ("PolicyDocument", &*all.to_string()),
    ];
    form("iam", &put).await;
    let topic = format!("arn:aws:sns:{REGION}:{account}:{name}");
    let publish = json!({"Version": "2012-10-17", "Statement": [{
        "Effect": "Allow", "Principal": {"Service": "codestar-notifications.amazonaws.com"}, "Action": "sns:Publish", "Resource": topic,
    }]});
    let sns = ("Version", "2010-03-31");
    form("sns", &[sns, ("Action", "CreateTopic"), ("Name", name)]).await;
    let attribute = [
        sns,
        ("Action", "SetTopicAttributes"),
        ("TopicArn", &*topic),
        ("AttributeName", "Policy"),
        ("AttributeValue", &*publish.to_string()),
    ];
    form("sns", &attribute).await;
    let input = json!({"ConnectionName": name, "ProviderType": "GitHub"});
    let created = call("codestar-connections", "CreateConnection", input).await;
    let connection = created["ConnectionArn"].as_str().unwrap().to_owned();
    aws.authorize(&connection).unwrap();
    let role = format!("arn:aws:iam::{account}:role/{name}");
    let deploy = |stage: &str| {
        json!({"name": stage, "actions": [{
            "name": "ToSite", "runOrder": 1, "actionTypeId": {"category": "Deploy", "owner": "AWS", "provider": "S3", "version": "1"},
            "configuration": {"BucketName": format!("{name}-site-{account}"), "Extract": "true", "ObjectKey": "site", "CacheControl": "max-age=60"},
            "inputArtifacts": [{"name": "source_output"}],
        }]})
    };
    let mut all = vec![json!({"name": "Checkout", "actions": [{
        "name": "GitHub", "runOrder": 1, "namespace": "SourceVariables",
        "actionTypeId": {"category": "Source", "owner": "AWS", "provider": "CodeStarSourceConnection", "version": "1"},
        "configuration": {
            "ConnectionArn": connection, "FullRepositoryId": repository, "BranchName": "main", "OutputArtifactFormat": "CODE_ZIP",
        },
        "outputArtifacts": [{"name": "source_output"}],
    }]})];
    all.extend((1..stages).map(|n| deploy(&format!("Publish{n}"))));
    let pipeline = json!({
        "name": name, "roleArn": role, "pipelineType": "V2", "executionMode": "SUPERSEDED", "stages": all,
        "artifactStore": {"type": "S3", "location": format!("{name}-artifacts-{account}")},
    });
    call(
        "codepipeline",
        "CreatePipeline",
        json!({"pipeline": pipeline}),
    )
    .await;
    let rule = json!({
        "Name": format!("{name}-announces"), "Resource": format!("arn:aws:codepipeline:{REGION}:{account}:{name}"), "DetailType": "FULL",
        "EventTypeIds": ["codepipeline-pipeline-pipeline-execution-succeeded", "codepipeline-pipeline-pipeline-execution-failed"],
        "Targets": [{"TargetType": "SNS", "TargetAddress": topic}],
    });
    call("codestar-notifications", "CreateNotificationRule", rule).await;
    connection
}

/// The manifests in the printed text.
pub fn manifests(printed: &str) -> Vec<Value> {
    let all: Vec<Value> =
        serde_saphyr::from_multiple(printed).unwrap_or_else(|e| panic!("{e}: {printed}"));
    all.into_iter()
        .filter(|document| document.is_object())
        .collect()
}

/// The flags that the printed text asks for.
pub fn flags(printed: &str) -> Vec<String> {
    printed
        .lines()
        .filter_map(|line| line.strip_prefix("#   --"))
        .map(|flag| format!("--{flag}"))
        .collect()
}

#[tokio::test]
async fn a_pipeline_made_by_hand_is_taken_over_and_only_its_tags_change() {
    let mut case = Case::without_operator("import", &[]).await;
    case.grant(case.chart_rbac()).await;
    let (repository, commit) = case.create_repository().await;
    create_by_hand(&case, "team-site", &repository, 2).await;
    create_by_hand(&case, "three-stages", &repository, 3).await;
    let arn = |name: &str| format!("arn:aws:codepipeline:{REGION}:{}:{name}", case.account);
    let rule = case
        .aws()
        .rules(&case.account)
        .into_iter()
        .find(|r| r.resource == arn("team-site"))
        .unwrap()
        .arn;
    let state = json!({"version": 4, "resources": [
        {"mode": "managed", "type": "aws_codepipeline", "name": "site", "module": "module.site", "instances": [{"attributes": {"arn": arn("team-site")}}]},
        {"mode": "managed", "type": "aws_codepipeline", "name": "other", "instances": [{"attributes": {"arn": arn("three-stages")}}]},
        {"mode": "managed", "type": "aws_codestarnotifications_notification_rule", "name": "site", "instances": [{"attributes": {"arn": rule}}]},
    ]});
    let file = crate::case::world()
        .logs
        .join(format!("{}.tfstate", case.namespace));
    std::fs::write(&file, state.to_string()).unwrap();
    let arguments = [
        "import",
        "--cluster-id=tests",
        "--namespace",
        &case.namespace.clone(),
        "--state",
        &file.display().to_string(),
    ];
    let (ok, printed) = run_command(&case, &arguments, None).await;
    assert!(
        ok && printed.contains("Left out: pipeline three-stages: it is not of two stages"),
        "{printed}"
    );
    assert!(
        printed.contains("Applying it changes nothing of pipeline team-site but tags"),
        "{printed}"
    );
    assert_eq!(printed.matches("removed {").count(), 2, "{printed}");
    assert!(
        printed.contains("from = module.site.aws_codepipeline.site"),
        "{printed}"
    );
    assert!(
        case.writes().is_empty(),
        "it only looks: {:?}",
        case.writes()
    );
    let (ok, none) = run_command(
        &case,
        &["import", "--cluster-id=tests", "--pipeline", "three-*"],
        None,
    )
    .await;
    assert!(
        !ok && none.contains("no pipeline in account") && !none.contains("team-site"),
        "{none}"
    );
    let [manifest] = &manifests(&printed)[..] else {
        panic!("{printed}")
    };
    let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();

    // The manifest is applied as printed, with the flags as printed.
    let flags = flags(&printed);
    case.restart_with(&flags.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let before = case.aws().pipelines(&case.account)["team-site"].clone();
    // Killed after its first write, the operator goes on with the second.
    let pid = case.operator.as_ref().unwrap().id();
    case.aws().fault(Fault::of_writes(
        &case.account,
        When::Nth(1),
        Effect::KillAfter(pid),
    ));
    case.apply(&name, manifest["spec"].clone()).await.unwrap();
    case.operator.as_mut().unwrap().ended().await.unwrap();
    case.start().await;
    case.apply(&name, manifest["spec"].clone()).await.unwrap();
    let status = case.wait_delivered(&name, &commit).await;
    assert_eq!(status.delivered.unwrap().prefix, "site");
    assert_eq!(case.aws().pipelines(&case.account)["team-site"], before);
    let writes = case.writes();
    assert_eq!(
        writes,
        [
            "codepipeline:TagResource",
            "codestar-notifications:TagResource"
        ],
        "nothing but tags"
    );
    let runs = case.executions("team-site");
    assert_eq!(runs.len(), 1, "nothing was started: {runs:?}");

    // From now on the pipeline follows the object; settings that the object does not name stay.
    let next = case.push(&repository, "next", "NEXT.md", "next\n").await;
    let mut spec = manifest["spec"].clone();
    spec["branch"] = json!("next");
    case.apply(&name, spec).await.unwrap();
    case.wait_delivered(&name, &next).await;
    let mut expected = before.clone();
    expected["stages"][0]["actions"][0]["configuration"]["BranchName"] = json!("next");
    assert_eq!(case.aws().pipelines(&case.account)["team-site"], expected);
    let pushed = case.push(&repository, "next", "MORE.md", "more\n").await;
    case.wait_delivered(&name, &pushed).await;

    // The pipeline existed before the object, and it exists after.
    case.delete(&name).await;
    case.wait_gone(&name).await;
    assert!(
        case.aws()
            .pipelines(&case.account)
            .contains_key("team-site")
    );
    assert_eq!(case.aws().rules(&case.account).len(), 2);
    // A pipeline that has an owner is not offered again.
    let (ok, printed) = run_command(&case, &["import"], None).await;
    assert!(
        !ok && printed.contains("Left out: pipeline team-site: it has an owner already"),
        "{printed}"
    );
}

#[tokio::test]
async fn plan_shows_what_is_taken_over_by_the_name_that_it_has() {
    let mut case = Case::without_operator("import-plan", &[]).await;
    case.grant_everything().await;
    let (repository, _) = case.create_repository().await;
    create_by_hand(&case, "site", &repository, 2).await;
    let namespace = format!("--namespace={}", case.namespace);
    let import = ["import", "--cluster-id=tests", &namespace];
    let (ok, printed) = run_command(&case, &import, None).await;
    assert!(ok, "{printed}");
    let [manifest] = &manifests(&printed)[..] else {
        panic!("{printed}")
    };
    let mut arguments = vec!["plan".to_owned(), "--cluster-id=tests".to_owned()];
    arguments.extend(flags(&printed));
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (ok, planned) = run_command(&case, &arguments, Some(&manifest.to_string())).await;
    let changed: Vec<&str> = planned
        .lines()
        .filter_map(|line| line.trim().strip_prefix("~ "))
        .collect();
    assert!(
        ok && changed.contains(&"notification rule site-announces")
            && changed
                .iter()
                .any(|line| line.starts_with("pipeline site:"))
            && changed.len() == 2,
        "{planned}"
    );
    assert!(case.writes().is_empty(), "{:?}", case.writes());
}

#[tokio::test]
async fn no_pipeline_is_taken_over_that_nobody_allowed() {
    let mut case = Case::without_operator("import-not", &[]).await;
    case.grant(case.chart_rbac()).await;
    let (repository, _) = case.create_repository().await;
    create_by_hand(&case, "site", &repository, 2).await;
    let (_, printed) = run_command(&case, &["import"], None).await;
    let flags = flags(&printed);
    let [manifest] = &manifests(&printed)[..] else {
        panic!("{printed}")
    };
    let spec = manifest["spec"].clone();
    let but = |left_out: &str| {
        let kept: Vec<&str> = flags
            .iter()
            .map(String::as_str)
            .filter(|flag| !flag.contains(left_out))
            .collect();
        assert!(kept.len() < flags.len(), "{left_out}: {flags:?}");
        kept
    };
    case.restart_with(&but(":role/")).await;
    case.apply("docs", spec.clone()).await.unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "NotAllowed")
        .await;
    assert_message(&status, "Stalled", "pipeline.name, its role");
    let mut missing = spec.clone();
    missing["pipeline"]["name"] = json!("nobody");
    case.apply("missing", missing).await.unwrap();
    let status = case
        .wait_condition("missing", "Stalled", "True", "NotAllowed")
        .await;
    assert_message(&status, "Stalled", ":nobody is not covered");
    assert!(case.writes().is_empty(), "{:?}", case.writes());
    let mut others = spec.clone();
    others.as_object_mut().unwrap().remove("connection");
    case.apply("others", others).await.unwrap();
    case.wait_condition("others", "Stalled", "True", "InvalidSpec")
        .await;
    let mut bad = spec;
    bad["adopt"] = json!(["NotificationRule"]);
    let refused = case.apply("bad", bad).await.unwrap_err();
    assert!(refused.contains("write Pipeline in adopt"), "{refused}");
    // A call that is denied is named.
    case.aws().enforce(
        &case.account,
        vec![json!({"Version": "2012-10-17", "Statement": []})],
    );
    let (ok, printed) = run_command(&case, &["import"], None).await;
    assert!(
        !ok && printed.contains("codepipeline:ListPipelines was refused"),
        "{printed}"
    );
}
