//! An end, against a cloud that has everything.

use std::collections::BTreeSet;

use super::*;
use crate::api::repofanout::DeletionSpec;
use crate::cloud::fake::Fake;

/// All resources of a Chinese region, by ARNs that end in their words.
fn resources() -> Resources {
    let arn = |resource: Resource| match resource {
        Resource::Artifacts | Resource::Destination | Resource::Readers => {
            format!("arn:aws-cn:s3:::{}", resource.as_str())
        }
        _ => format!("arn:aws-cn:x:cn-north-1:1:{}", resource.as_str()),
    };
    let named = |resource: Resource| (resource.as_str().to_owned(), arn(resource));
    Resource::ALL.into_iter().map(named).collect()
}

/// Ends everything, which has the owner's tags or a stranger's; answers the writes, too.
async fn end(default: Option<&str>, ours: bool) -> (Outcome, Vec<String>) {
    let owner = Owner {
        cluster: "c".into(),
        kind: "RepoFanout".into(),
        namespace: "n".into(),
        name: "x".into(),
    };
    let fake = Fake::new(if ours { owner.tags() } else { Tags::new() });
    let ending = Ending {
        cloud: fake.cloud(),
        owner,
        retention: Retention(DeletionSpec {
            default: default.map(str::to_owned),
            ..DeletionSpec::default()
        }),
        resources: resources(),
        young: BTreeSet::new(),
        connections: vec![("rf-x".into(), None)],
        subscriptions: vec![SubscriptionStatus {
            protocol: "sqs".into(),
            endpoint: "ours".into(),
            ..SubscriptionStatus::default()
        }],
        copied: Some(("theirs".into(), "acme/docs".into())),
        since: None,
        rule: None,
        now: Timestamp::UNIX_EPOCH,
    };
    let outcome = ending.run().await.unwrap();
    let writes = fake.writes.lock().unwrap().clone();
    (outcome, writes)
}

#[tokio::test]
async fn everything_ends_in_order() {
    let (outcome, writes) = end(Some("Delete"), true).await;
    assert_eq!(outcome, Outcome::Done(vec![]));
    let x = "arn:aws-cn:x:cn-north-1:1";
    let expected = [
        &format!("delete {x}:notification_rule"),
        "delete pipeline pipeline",
        "delete role role",
        "delete subscription",
        &format!("delete target {x}:topic"),
        &format!("delete {x}:topic"),
        "delete event rule event_rule",
        "delete queue queue",
        "delete queue dead_letter_queue",
        "empty artifacts/",
        "delete artifacts",
        "empty destination/",
        "delete destination",
        "empty theirs/acme/docs/",
        "delete connection/used",
        "delete connection/spare",
    ];
    assert_eq!(writes, expected);
}

#[tokio::test]
async fn what_is_retained_is_tagged_and_told_by_its_own_arn() {
    let (outcome, writes) = end(Some("Retain"), true).await;
    let Outcome::Done(kept) = outcome else {
        panic!("{outcome:?}")
    };
    let deleted: Vec<&String> = writes.iter().filter(|w| w.starts_with("delete")).collect();
    assert_eq!(
        deleted,
        ["delete subscription"],
        "but for its own subscription"
    );
    assert!(
        kept.contains(&"arn:aws-cn:s3:::destination".to_owned()),
        "{kept:?}"
    );
    assert!(
        kept.contains(&"arn:aws-cn:s3:::artifacts".to_owned()),
        "{kept:?}"
    );
    assert!(
        kept.iter().all(|arn| !arn.starts_with("arn:aws:")),
        "{kept:?}"
    );
}

#[tokio::test]
async fn a_persons_authorization_and_the_files_are_kept_without_a_word() {
    let (outcome, _) = end(None, true).await;
    let kept = ["arn:aws-cn:s3:::destination", "connection/used"];
    assert_eq!(outcome, Outcome::Done(kept.map(str::to_owned).to_vec()));
}

#[tokio::test]
async fn what_is_a_strangers_stays_untouched() {
    let (outcome, writes) = end(Some("Delete"), false).await;
    assert_eq!(outcome, Outcome::Done(vec![]));
    // The readers' statements are ours by their Sids, and the copied files by their prefix.
    assert_eq!(
        writes,
        ["let nobody into readers", "empty theirs/acme/docs/"]
    );
}

#[test]
fn the_order_names_each_resource_once() {
    assert_eq!(BTreeSet::from(ORDER), BTreeSet::from(Resource::ALL));
}
