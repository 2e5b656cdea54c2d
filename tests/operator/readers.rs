//! Readers: who else may read the copy, by statements in the bucket's policy beside those of
//! others.

use repofanout::api::status::RepoFanoutStatus;
use serde_json::{Value, json};
use support::aws::{Effect, Fault, When};

use crate::case::{Case, assert_message, condition, is_true};
use crate::classes::shared_spec;
use crate::scale::class_queue;

const ACCOUNT: &str = "777788889999";
const ORGANIZATION: &str = "o-abcdefghij";

/// The statements of a bucket's policy.
pub async fn statements(case: &Case, bucket: &str) -> Vec<Value> {
    let answer = case.s3("GET", &format!("/{bucket}?policy"), "").await;
    let Ok(text) = answer else { return Vec::new() };
    let policy: Value = serde_json::from_str(&text).unwrap();
    policy["Statement"].as_array().unwrap().clone()
}

async fn put_policy(case: &Case, bucket: &str, statements: &[Value]) {
    let policy = json!({"Version": "2012-10-17", "Statement": statements}).to_string();
    case.s3("PUT", &format!("/{bucket}?policy"), &policy)
        .await
        .unwrap();
}

/// The statements among them that are ours.
fn our_statements(all: &[Value]) -> Vec<&Value> {
    all.iter()
        .filter(|s| {
            s["Sid"]
                .as_str()
                .is_some_and(|sid| sid.starts_with("RepoFanoutRead"))
        })
        .collect()
}

/// The ARNs of objects that our statements let others read.
pub fn readable_arns(all: &[Value]) -> Vec<String> {
    let mut found: Vec<String> = our_statements(all)
        .into_iter()
        .filter(|s| s["Action"] == "s3:GetObject")
        .map(|s| s["Resource"].as_str().unwrap().to_owned())
        .collect();
    found.sort();
    found
}

fn destination_bucket(status: &RepoFanoutStatus) -> String {
    status.delivered.clone().unwrap().bucket
}

async fn wait_readable(case: &Case, bucket: &str, prefixes: &[&str]) -> Vec<Value> {
    let wanted: Vec<String> = prefixes
        .iter()
        .map(|p| format!("arn:aws:s3:::{bucket}/{p}/*"))
        .collect();
    case.until(|| async {
        let all = statements(case, bucket).await;
        if readable_arns(&all) == wanted {
            Ok(all)
        } else {
            Err(format!("{:?}", readable_arns(&all)))
        }
    })
    .await
}

#[tokio::test]
async fn in_a_shared_bucket_each_lets_its_own_readers_in_and_leaves_others_statements() {
    let case = Case::with_classes("readers-shared", &[]).await;
    let class = case.class_name("org");
    let mut spec = shared_spec(&case);
    spec["allowedReaders"] = json!([ACCOUNT, "o-*"]);
    spec["destination"] = json!({"prefixTemplate": "{namespace}/{name}"});
    case.create_ready_class(&class, spec).await;
    let (repository, commit) = case.create_repository().await;
    let manifest = |readers: Value| json!({"repository": repository, "className": class, "destination": {"readers": readers}});
    // Many fan-outs write the one policy at the same time, and none loses another's statements.
    let names: Vec<String> = (0..6).map(|n| format!("docs-{n}")).collect();
    for name in &names {
        case.apply(name, manifest(json!([{"account": ACCOUNT}])))
            .await
            .unwrap();
    }
    let mut found = String::new();
    for name in &names {
        found = destination_bucket(&case.wait_delivered(name, &commit).await);
    }
    let prefixes: Vec<String> = names
        .iter()
        .map(|name| format!("{}/{name}", case.namespace))
        .collect();
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let all = wait_readable(&case, &found, &prefixes).await;
    assert!(
        all.iter().any(|s| s["Sid"] == "RepoFanoutTLSOnly"),
        "the class's own statement stays"
    );
    for statement in our_statements(&all) {
        assert_eq!(
            statement["Principal"]["AWS"],
            json!([format!("arn:aws:iam::{ACCOUNT}:root")])
        );
        if statement["Action"] == "s3:ListBucket" {
            let prefix = statement["Condition"]["StringLike"]["s3:prefix"]
                .as_str()
                .unwrap();
            assert!(
                prefixes.iter().any(|p| prefix == format!("{p}/*")),
                "{prefix}"
            );
        }
    }

    // Somebody adds a statement by hand and takes one of ours away: theirs stays, and ours comes
    // back.
    let theirs = json!({
        "Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": format!("arn:aws:iam::{ACCOUNT}:root")},
        "Action": "s3:GetBucketLocation", "Resource": format!("arn:aws:s3:::{found}"),
    });
    let mut changed = all.clone();
    changed.retain(|s| s["Resource"] != format!("arn:aws:s3:::{found}/{}/*", prefixes[0]));
    changed.push(theirs.clone());
    put_policy(&case, &found, &changed).await;
    case.annotate(&names[0], "repofanout.dev/reconcile-requested-at", "now")
        .await;
    let all = wait_readable(&case, &found, &prefixes).await;
    assert!(all.contains(&theirs));
    case.wait_event(&names[0], "DriftCorrected", "readers")
        .await;

    // Readers change, end, or their fan-out is deleted: only the fan-out's own statements go, at
    // once.
    case.apply(&names[0], manifest(json!([{"organization": ORGANIZATION}])))
        .await
        .unwrap();
    case.until(|| async {
        let all = statements(&case, &found).await;
        let of = |s: &&Value| {
            s["Condition"]["StringEquals"]["aws:PrincipalOrgID"] == json!([ORGANIZATION])
        };
        let organizations: Vec<&Value> = our_statements(&all).into_iter().filter(of).collect();
        if organizations.len() == 2 && our_statements(&all).len() == 12 {
            Ok(())
        } else {
            Err(format!("{all:?}"))
        }
    })
    .await;
    case.apply(
        &names[1],
        json!({"repository": repository, "className": class}),
    )
    .await
    .unwrap();
    let left = [&prefixes[..1], &prefixes[2..]].concat();
    wait_readable(&case, &found, &left).await;
    case.wait(&names[1], "the status still reports readers", |s| {
        !s.resources.contains_key("readers")
    })
    .await;
    for name in &names {
        case.delete(name).await;
    }
    for name in &names {
        case.wait_gone(name).await;
    }
    let all = wait_readable(&case, &found, &[]).await;
    assert!(
        our_statements(&all).is_empty() && all.contains(&theirs),
        "{all:?}"
    );
}

#[tokio::test]
async fn an_own_bucket_is_read_by_roles_and_what_aws_refuses_is_told() {
    let case = Case::new(
        "readers-own",
        &[&format!("--allow-readers={ACCOUNT},{ORGANIZATION}")],
    )
    .await;
    let role = format!("arn:aws:iam::{ACCOUNT}:role/site");
    let (repository, commit) = case.create_repository().await;
    let manifest =
        |readers: Value| json!({"repository": repository, "destination": {"readers": readers}});
    case.apply("docs", manifest(json!([{"roleARN": role}])))
        .await
        .unwrap();
    case.authorize("docs").await;
    let found = destination_bucket(&case.wait_delivered("docs", &commit).await);
    let all = wait_readable(&case, &found, &[&repository]).await;
    assert!(
        our_statements(&all)
            .iter()
            .all(|s| s["Principal"]["AWS"] == json!([role])),
        "{all:?}"
    );

    // Without the permission to write the policy the status names the call, and the object heals
    // later.
    let denied = Effect::Fail {
        status: 403,
        code: "AccessDenied".into(),
        message: "no".into(),
    };
    case.aws()
        .fault(Fault::of_writes(&case.account, When::Always, denied));
    case.apply(
        "docs",
        manifest(json!([{"roleARN": role}, {"organization": ORGANIZATION}])),
    )
    .await
    .unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "AccessDenied")
        .await;
    assert_message(&status, "Stalled", "s3:PutBucketPolicy");
    case.aws().clear_faults(&case.account);
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "now")
        .await;
    case.wait("docs", "not ready again", |s| is_true(s, "Ready"))
        .await;
    assert_eq!(our_statements(&statements(&case, &found).await).len(), 4);

    // Readers that exceed the size of a policy are refused, and the policy stays as it is.
    let many: Vec<Value> = (0..60)
        .map(|n| json!({"roleARN": format!("arn:aws:iam::{ACCOUNT}:role/{}{n}", "x".repeat(180))}))
        .collect();
    case.apply("docs", manifest(json!(many))).await.unwrap();
    let status = case
        .wait_condition("docs", "Stalled", "True", "QuotaExceeded")
        .await;
    assert_message(&status, "Stalled", "20480");
    assert_eq!(our_statements(&statements(&case, &found).await).len(), 4);
}

#[tokio::test]
async fn nobody_is_let_in_whom_nobody_allowed_and_a_bucket_that_exists_is_not_written_to() {
    let allow = format!("--allow-readers={ACCOUNT}");
    let case = Case::new("readers-not", &["--allow-existing=arn:aws:s3:::*", &allow]).await;
    let (repository, commit) = case.create_repository().await;
    for (reader, expected) in [
        (json!({}), "write one of account"),
        (
            json!({"account": ACCOUNT, "organization": ORGANIZATION}),
            "write one of account",
        ),
        (json!({"account": "1"}), "account"),
        (json!({"roleARN": "*"}), "roleARN"),
    ] {
        let spec = json!({"repository": repository, "destination": {"readers": [reader]}});
        let refused = case.apply("docs", spec).await.unwrap_err();
        assert!(refused.contains(expected), "{refused}");
    }
    let other = json!({"repository": repository, "destination": {"readers": [{"account": "123456789012"}]}});
    case.apply("other", other).await.unwrap();
    let status = case
        .wait_condition("other", "Stalled", "True", "NotAllowed")
        .await;
    assert_message(
        &status,
        "Stalled",
        "123456789012 is not covered by the operator's --allow-readers",
    );

    let theirs = format!("theirs-{}", case.namespace);
    case.create_bucket(&theirs).await;
    let spec = json!({"repository": repository, "destination": {"existingBucket": theirs, "readers": [{"account": ACCOUNT}]}});
    case.apply("docs", spec).await.unwrap();
    case.authorize("docs").await;
    let status = case
        .wait_condition("docs", "Stalled", "True", "AccessDenied")
        .await;
    let stalled = condition(&status, "Stalled").unwrap();
    let printed = stalled
        .message
        .split("leave readers out: ")
        .nth(1)
        .unwrap_or_else(|| panic!("no statements: {stalled:?}"));
    let missing: Vec<Value> = serde_json::from_str(&format!("[{printed}]")).unwrap();
    assert!(
        statements(&case, &theirs).await.is_empty(),
        "nothing was written"
    );
    // The owner adds the printed statements, under Sids of the owner's choice.
    let added: Vec<Value> = missing
        .into_iter()
        .enumerate()
        .map(|(n, mut statement)| {
            statement["Sid"] = json!(format!("Site{n}"));
            statement
        })
        .collect();
    put_policy(&case, &theirs, &added).await;
    case.annotate("docs", "repofanout.dev/reconcile-requested-at", "now")
        .await;
    case.wait_delivered("docs", &commit).await;
    assert_eq!(statements(&case, &theirs).await, added);
}

/// Once a role or user is deleted, AWS takes no policy that names it: neither in our statements nor
/// in another's is that in the way of anybody else.
#[tokio::test]
async fn a_reader_who_is_gone_is_left_out_and_keeps_nobody_from_being_let_in_or_deleted() {
    let case = Case::with_classes("readers-gone", &[]).await;
    let class = case.class_name("org");
    let mut spec = shared_spec(&case);
    spec["allowedReaders"] = json!([ACCOUNT]);
    spec["destination"] = json!({"prefixTemplate": "{namespace}/{name}"});
    case.create_ready_class(&class, spec).await;
    let unique = |what: &str| format!("arn:aws:iam::{ACCOUNT}:{what}-{}", case.namespace);
    let (role, late) = (unique("role/site"), unique("role/late"));
    let theirs = unique("user/theirs");
    let root = format!("arn:aws:iam::{ACCOUNT}:root");
    let (repository, commit) = case.create_repository().await;
    let manifest = |readers: Value| json!({"repository": repository, "className": class, "destination": {"readers": readers}});
    // A role that was just made is not known at once, and is waited for.
    case.aws().create_principal(&role, 2);
    let both = json!([{"roleARN": role}, {"account": ACCOUNT}]);
    case.apply("one", manifest(both.clone())).await.unwrap();
    case.apply("two", manifest(json!([]))).await.unwrap();
    let found = destination_bucket(&case.wait_delivered("one", &commit).await);
    case.wait_delivered("two", &commit).await;
    let prefixes = ["one", "two"].map(|name| format!("{}/{name}", case.namespace));
    let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
    let all = wait_readable(&case, &found, &prefixes[..1]).await;
    let principals = |all: &[Value], prefix: &str| {
        let resource = format!("arn:aws:s3:::{found}/{prefix}/*");
        let statement = all.iter().find(|s| s["Resource"] == *resource);
        let named = statement.map(|s| s["Principal"]["AWS"].as_array().unwrap().clone());
        let mut named: Vec<String> = named
            .unwrap_or_default()
            .iter()
            .map(|one| one.as_str().unwrap().to_owned())
            .collect();
        named.sort();
        named
    };
    assert_eq!(principals(&all, prefixes[0]), [&*role, &*root]);

    // The role goes, and so does a user whom somebody let in beside us.
    let mut more = all;
    more.push(json!({
        "Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": [theirs, root]},
        "Action": "s3:GetBucketLocation", "Resource": format!("arn:aws:s3:::{found}"),
    }));
    put_policy(&case, &found, &more).await;
    let dead = [&role, &theirs].map(|arn| case.aws().delete_principal(arn));
    case.aws().create_principal(&late, 0);
    let new = json!([{"roleARN": late}]);
    case.apply("two", manifest(new)).await.unwrap();
    case.reconcile("one", "gone").await;
    let all = wait_readable(&case, &found, &prefixes).await;
    let of_theirs = all.iter().find(|s| s["Sid"] == "Theirs");
    let left = of_theirs.map(|s| s["Principal"]["AWS"].clone());
    assert_eq!(left, Some(json!([root])), "{all:?}");
    assert_eq!(principals(&all, prefixes[0]), [&*root]);
    assert_eq!(principals(&all, prefixes[1]), [&*late]);
    let text = json!(all).to_string();
    assert!(dead.iter().all(|id| !text.contains(id.as_str())), "{text}");
    let status = case
        .wait("one", "it is not said who is unknown", |s| {
            condition(s, "Provisioned").is_some_and(|c| c.says("AWS does not know"))
        })
        .await;
    assert_message(&status, "Provisioned", &role);
    assert!(is_true(&status, "Ready"), "{:?}", status.conditions);
    let writes = case.writes();
    case.reconcile("one", "quiet").await;
    case.reconcile("two", "quiet").await;
    assert_eq!(
        case.writes(),
        writes,
        "who is unknown is not tried again and again"
    );

    // A second one who becomes unknown later is left out beside the first.
    let second = unique("role/second");
    case.aws().create_principal(&second, 0);
    case.aws().delete_principal(&second);
    let three = json!([{"roleARN": role}, {"roleARN": second}, {"account": ACCOUNT}]);
    case.apply("one", manifest(three)).await.unwrap();
    case.wait("one", "it is not said that both are unknown", |s| {
        condition(s, "Provisioned").is_some_and(|c| c.says(&role) && c.says(&second))
            && is_true(s, "Ready")
    })
    .await;
    let all = statements(&case, &found).await;
    assert_eq!(principals(&all, prefixes[0]), [&*root]);
    let writes = case.writes();
    case.reconcile("one", "quiet again").await;
    assert_eq!(case.writes(), writes, "two unknown readers do not settle");

    // What is deleted meanwhile is in no deletion's way either.
    let mut more = all;
    let other = unique("user/other");
    more.push(json!({
        "Sid": "Others", "Effect": "Allow", "Principal": {"AWS": other},
        "Action": "s3:GetBucketLocation", "Resource": format!("arn:aws:s3:::{found}"),
    }));
    put_policy(&case, &found, &more).await;
    case.aws().delete_principal(&other);
    for name in ["one", "two"] {
        case.delete(name).await;
    }
    for name in ["one", "two"] {
        case.wait_gone(name).await;
    }
    assert!(our_statements(&statements(&case, &found).await).is_empty());
}

/// The same for the policies of a class's topic and queue.
#[tokio::test]
async fn somebody_who_is_gone_from_a_topic_or_a_queue_keeps_no_statement_of_ours_away() {
    let case = Case::with_classes("gone", &[]).await;
    let class = case.class_name("org");
    let spec = shared_spec(&case);
    let ready = case.create_ready_class(&class, spec.clone()).await;
    let theirs = format!("arn:aws:iam::{ACCOUNT}:role/theirs-{}", case.namespace);
    let (topic, url) = (ready.resources["topic"].clone(), class_queue(&case).await);
    let queue = ready.resources["queue"].clone();
    let policy = |resource: &str, action: &str| {
        let statement = json!({
            "Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": theirs}, "Action": action,
            "Resource": resource,
        });
        json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
    };
    let set = [
        ("Action", "SetTopicAttributes"),
        ("TopicArn", &*topic),
        ("AttributeName", "Policy"),
        ("AttributeValue", &policy(&topic, "sns:Publish")),
    ];
    case.sns(&set).await.unwrap();
    let set = [
        ("Action", "SetQueueAttributes"),
        ("QueueUrl", &*url),
        ("Attribute.1.Name", "Policy"),
        ("Attribute.1.Value", &policy(&queue, "sqs:SendMessage")),
    ];
    case.sqs(&set).await.unwrap();
    case.aws().delete_principal(&theirs);
    let mut changed = spec;
    changed["tags"] = json!({"looked": "again"});
    case.apply_class(&class, changed, false).await.unwrap();
    let of_topic = [("Action", "GetTopicAttributes"), ("TopicArn", &*topic)];
    let of_queue = [
        ("Action", "GetQueueAttributes"),
        ("QueueUrl", &*url),
        ("AttributeName.1", "Policy"),
    ];
    case.until(|| async {
        let policies = [case.sns(&of_topic).await?, case.sqs(&of_queue).await?];
        let ours = policies[0].contains("RepoFanoutPublish")
            && policies[1].contains("RepoFanoutEvents")
            && policies.iter().all(|p| !p.contains("Theirs"));
        ours.then_some(()).ok_or_else(|| format!("{policies:?}"))
    })
    .await;
}
