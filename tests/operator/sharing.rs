//! Existing resources are used where the settings allow it, and never configured.

use serde_json::{Value, json};

use crate::case::{Case, REGION, assert_condition, assert_message, condition};

#[tokio::test]
async fn two_fan_outs_share_a_connection_that_exists() {
    let case = Case::new("shared", &["--allow-existing=arn:aws:*:connection/*"]).await;
    let (repository, commit) = case.create_repository().await;
    case.apply("first", json!({"repository": repository}))
        .await
        .unwrap();
    let arn = case.authorize("first").await;
    case.wait_delivered("first", &commit).await;
    let spec = json!({"repository": repository, "connection": {"existingARN": arn}, "destination": {"prefix": "other"}});
    case.apply("second", spec).await.unwrap();
    let second = case.wait_delivered("second", &commit).await;
    assert_eq!(second.connection.unwrap().arn.as_deref(), Some(&*arn));
    // Its tags still name its owner.
    let connections = case.aws().connections(&case.account);
    assert_eq!(connections.len(), 1);
    assert_eq!(connections[0].tags["repofanout.dev/name"], "first");
    case.delete("second").await;
    case.wait_gone("second").await;
    assert_eq!(case.aws().connections(&case.account).len(), 1);
    let pushed = case.push(&repository, "main", "README.md", "again\n").await;
    case.wait_delivered("first", &pushed).await;
}

#[tokio::test]
async fn what_the_settings_do_not_allow_is_not_touched() {
    let case = Case::new("not-allowed", &[]).await;
    let arn = format!(
        "arn:aws:codestar-connections:{REGION}:{}:connection/11111111-1111-1111-1111-111111111111",
        case.account
    );
    let specs = [
        (
            "connection",
            json!({"repository": "a/b", "connection": {"existingARN": arn}}),
        ),
        (
            "bucket",
            json!({"repository": "a/b", "destination": {"existingBucket": "somebodys-bucket"}}),
        ),
        ("name", json!({"repository": "a/b", "name": "chosen"})),
    ];
    for (name, spec) in specs {
        case.apply(name, spec).await.unwrap();
        let status = case
            .wait_condition(name, "Ready", "False", "NotAllowed")
            .await;
        assert_condition(&status, "Stalled", "True", "NotAllowed");
        assert_message(&status, "Ready", "--allow-");
        case.delete(name).await;
        case.wait_gone(name).await;
    }
    assert_eq!(case.writes(), Vec::<String>::new());
}

#[tokio::test]
async fn existing_buckets_and_topics_are_used_and_left_as_they_are() {
    let case = Case::without_operator(
        "existing",
        &["--allow-existing=arn:aws:s3:::*,arn:aws:sns:*"],
    )
    .await;
    let mut case = case;
    let bucket = format!("files-{}", case.namespace);
    case.create_bucket(&bucket).await;
    let topic = case.create_topic("theirs").await;
    let (repository, commit) = case.create_repository().await;
    case.start().await;
    let spec = json!({
        "repository": repository, "destination": {"existingBucket": bucket, "prefix": "docs"},
        "notifications": {"existingTopicARN": topic},
    });
    case.apply("docs", spec).await.unwrap();

    // The topic does not let notifications in: the status prints the statement to add, and the
    // statement works.
    let refused = case
        .wait_condition("docs", "Stalled", "True", "AccessDenied")
        .await;
    let message = condition(&refused, "Stalled").unwrap().message;
    let statement = &message[message.find('{').expect("a statement")..];
    let policy = format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#);
    let set = [
        ("Action", "SetTopicAttributes"),
        ("TopicArn", &*topic),
        ("AttributeName", "Policy"),
        ("AttributeValue", &*policy),
    ];
    case.sns(&set).await.unwrap();
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "now")
        .await;
    case.authorize("docs").await;
    let ready = case.wait_delivered("docs", &commit).await;
    let delivered = ready.delivered.clone().unwrap();
    assert_eq!((&*delivered.bucket, &*delivered.prefix), (&*bucket, "docs"));

    // A notification that could not be sent is told until one is.
    let other = policy.replace("Allow", "Deny");
    let mut shut = set;
    shut[3].1 = &other;
    case.sns(&shut).await.unwrap();
    case.push(&repository, "main", "README.md", "second\n")
        .await;
    let rule = json!({"Arn": case.aws().rules(&case.account)[0].arn});
    case.until(|| async {
        let (service, describe) = ("codestar-notifications", "DescribeNotificationRule");
        let asked = case
            .aws()
            .ask(&case.account, REGION, service, describe, &rule);
        let target = asked.await?["Targets"][0]["TargetStatus"].clone();
        (target == "UNREACHABLE")
            .then_some(())
            .ok_or_else(|| format!("the target is {target}"))
    })
    .await;
    case.sns(&set).await.unwrap();
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "told")
        .await;
    let told = case
        .wait_condition("docs", "Ready", "Unknown", "TopicUnreachable")
        .await;
    assert_message(&told, "Ready", &topic);
    let third = case.push(&repository, "main", "README.md", "third\n").await;
    case.wait_delivered("docs", &third).await;

    case.delete("docs").await;
    case.wait_gone("docs").await;
    let touched: Vec<String> = case
        .writes()
        .into_iter()
        .filter(|w| w.starts_with("sns:") || w.contains("Bucket"))
        .collect();
    // Only the object's own artifacts bucket was written to.
    assert!(touched.iter().all(|w| w.starts_with("s3:")), "{touched:?}");
    assert!(
        case.s3("GET", &format!("/{bucket}/docs/README.md"), "")
            .await
            .is_ok()
    );
    let tags = case.s3("GET", &format!("/{bucket}?tagging"), "").await;
    assert!(tags.is_err(), "an existing bucket was tagged: {tags:?}");
}

/// Makes a connection in some account and region, as somebody does by hand, and authorizes it;
/// answers its ARN.
async fn create_connection(case: &Case, account: &str, region: &str, input: &Value) -> String {
    let service = "codestar-connections";
    let made = case
        .aws()
        .ask(account, region, service, "CreateConnection", input)
        .await
        .expect("a connection");
    let arn = made["ConnectionArn"].as_str().expect("its ARN").to_owned();
    case.aws().authorize(&arn).expect("authorized");
    arn
}

#[tokio::test]
async fn connections_of_other_regions_and_accounts_are_used_where_they_are_allowed() {
    let case = Case::new("far", &["--allow-existing=arn:aws:*:connection/*"]).await;
    let (repository, commit) = case.create_repository().await;
    let input = json!({"ConnectionName": "theirs", "ProviderType": "GitHub"});
    let other = case.other_account(7);
    let far = create_connection(&case, &case.account, "us-east-1", &input).await;
    let foreign = create_connection(&case, &other, "us-west-2", &input).await;
    case.aws().share_connection(&foreign, &case.account);
    for (name, arn) in [("far", &far), ("foreign", &foreign)] {
        let spec = json!({"repository": repository, "connection": {"existingARN": arn}});
        case.apply(name, spec).await.unwrap();
        let status = case.wait_delivered(name, &commit).await;
        let url = status.connection.unwrap().authorize_url.unwrap();
        let parts: Vec<&str> = arn.split(':').collect();
        let page = format!("/settings/{}/{}/codeconnections/", parts[4], parts[3]);
        assert!(url.contains(&page), "{url}");
    }
    // One that its account does not share is none.
    let hidden = create_connection(&case, &other, REGION, &input).await;
    let spec = json!({"repository": repository, "connection": {"existingARN": hidden}});
    case.apply("hidden", spec).await.unwrap();
    case.wait_condition("hidden", "Stalled", "True", "NotFound")
        .await;
    assert_eq!(case.aws().connections(&other).len(), 2);
}

#[tokio::test]
async fn a_class_takes_its_own_connection_in_its_own_region_alone() {
    let case = Case::with_classes("home", &["--allow-existing=arn:aws:*"]).await;
    let class = case.class_name("all");
    let spec = json!({
        "connections": {"acme": {"owner": "acme"}},
        "allowedNamespaces": {"names": [case.namespace]}, "allowedRepositories": ["acme/*"],
    });
    let ready = case.create_ready_class(&class, spec.clone()).await;
    let first = ready.connections["acme"].arn.clone().unwrap();
    let known = case.aws().connections(&case.account);
    let like = known.iter().find(|c| c.arn == first).unwrap();
    let tags = like.tags.iter();
    let tags: Vec<Value> = tags.map(|(k, v)| json!({"Key": k, "Value": v})).collect();
    let input = json!({"ConnectionName": like.name, "ProviderType": "GitHub", "Tags": tags});
    // What has the same name and tags in another region is not the class's.
    let far = create_connection(&case, &case.account, "us-east-1", &input).await;
    let mut changed = spec;
    changed["tags"] = json!({"cost": "1"});
    case.apply_class(&class, changed, false).await.unwrap();
    let status = case
        .wait_class(&class, "not applied", |s| {
            s.observed_generation == Some(2) && s.applied_generation == Some(2)
        })
        .await;
    assert_eq!(status.connections["acme"].arn.as_ref(), Some(&first));
    assert_eq!(status.quotas["connections"].used, 1, "by region");
    case.delete_class(&class).await;
    case.wait_class_gone(&class).await;
    let left = case.aws().connections(&case.account);
    let far = left.iter().find(|c| c.arn == far).expect("it is untouched");
    assert!(!far.tags.contains_key("cost"), "{far:?}");
}
