//! The operator converges although it is killed, cut off or refused at every write to AWS or to the API
//! server: everything stands once, and nothing is left over.

mod outcome;
mod stage;
mod story;
mod strike;
mod sweep;

use std::sync::atomic::Ordering;

use futures::StreamExt;
use serde_json::json;
use support::aws::{Effect, Fault, When};

use crate::case::Case;
use story::{Adoption, Change, Class, Creation, Deletion, Delivery, Move, Story};
use strike::{
    FAIL_FOR_A_WHILE, FAIL_READS_FOR_A_WHILE, KILL_AFTER, KILL_BEFORE, LOSE_THE_REPLY, Side,
};
use sweep::{at_a_sample, at_every_write};

pub use outcome::{assert_whole, restart_if_killed, settle_delivered};

#[tokio::test]
async fn killed_before_every_write_of_a_creation() {
    assert!(at_every_write(Side::Aws, &Creation, KILL_BEFORE).await >= 13);
}

#[tokio::test]
async fn killed_after_every_write_of_a_creation() {
    assert!(at_every_write(Side::Aws, &Creation, KILL_AFTER).await >= 13);
}

#[tokio::test]
async fn killed_before_every_write_of_a_class_and_its_first_fan_out() {
    assert!(at_every_write(Side::Aws, &Class, KILL_BEFORE).await >= 12);
}

#[tokio::test]
async fn killed_after_every_write_of_a_class_and_its_first_fan_out() {
    assert!(at_every_write(Side::Aws, &Class, KILL_AFTER).await >= 12);
}

#[tokio::test]
async fn killed_before_every_write_of_a_move_into_a_class() {
    assert!(at_every_write(Side::Aws, &Move, KILL_BEFORE).await >= 8);
}

#[tokio::test]
async fn killed_after_every_write_of_a_move_into_a_class() {
    assert!(at_every_write(Side::Aws, &Move, KILL_AFTER).await >= 8);
}

#[tokio::test]
async fn killed_around_every_write_of_a_delivery_that_is_served_or_failing_for_a_while() {
    for strike in [KILL_BEFORE, KILL_AFTER, FAIL_FOR_A_WHILE] {
        let tried = at_every_write(Side::Aws, &Delivery, strike).await;
        assert!(tried >= 3, "{}: {tried}", strike.name);
    }
}

#[tokio::test]
async fn every_reply_of_a_creation_lost_once() {
    assert!(at_every_write(Side::Aws, &Creation, LOSE_THE_REPLY).await >= 13);
}

#[tokio::test]
async fn killed_before_every_write_of_a_change() {
    assert!(at_every_write(Side::Aws, &Change, KILL_BEFORE).await >= 8);
}

#[tokio::test]
async fn killed_after_every_write_of_a_change() {
    assert!(at_every_write(Side::Aws, &Change, KILL_AFTER).await >= 8);
}

#[tokio::test]
async fn killed_before_every_write_of_a_deletion() {
    assert!(at_every_write(Side::Aws, &Deletion, KILL_BEFORE).await >= 8);
}

#[tokio::test]
async fn killed_after_every_write_of_a_deletion() {
    assert!(at_every_write(Side::Aws, &Deletion, KILL_AFTER).await >= 8);
}

#[tokio::test]
async fn killed_around_every_kubernetes_write() {
    killed_around_its_kubernetes_writes(&Creation, 8).await;
    killed_around_its_kubernetes_writes(&Change, 2).await;
    killed_around_its_kubernetes_writes(&Deletion, 2).await;
    killed_around_its_kubernetes_writes(&Class, 12).await;
    killed_around_its_kubernetes_writes(&Move, 4).await;
}

async fn killed_around_its_kubernetes_writes(story: &impl Story, least: usize) {
    for strike in [KILL_BEFORE, KILL_AFTER] {
        let tried = at_every_write(Side::Kubernetes, story, strike).await;
        assert!(tried >= least, "{}, {}: {tried}", story.name(), strike.name);
    }
}

#[tokio::test]
async fn failing_for_a_while_from_every_write_of_a_creation() {
    assert!(at_every_write(Side::Aws, &Creation, FAIL_FOR_A_WHILE).await >= 13);
}

#[tokio::test]
async fn failing_for_a_while_from_every_write_of_a_class_and_of_a_move_into_it() {
    assert!(at_every_write(Side::Aws, &Class, FAIL_FOR_A_WHILE).await >= 12);
    assert!(at_every_write(Side::Aws, &Move, FAIL_FOR_A_WHILE).await >= 8);
}

#[tokio::test]
async fn killed_before_every_write_of_an_adoption() {
    assert!(at_every_write(Side::Aws, &Adoption, KILL_BEFORE).await >= 13);
}

#[tokio::test]
async fn killed_after_every_write_of_an_adoption() {
    assert!(at_every_write(Side::Aws, &Adoption, KILL_AFTER).await >= 13);
}

#[tokio::test]
async fn failing_for_a_while_from_every_write_of_a_change_and_a_deletion() {
    assert!(at_every_write(Side::Aws, &Change, FAIL_FOR_A_WHILE).await >= 8);
    assert!(at_every_write(Side::Aws, &Deletion, FAIL_FOR_A_WHILE).await >= 8);
}

/// The sample was drawn from a seed; `cargo xtask soak` strikes at other reads each time.
#[tokio::test]
async fn failing_for_a_while_at_a_sample_of_reads() {
    failing_at_a_sample_of_its_reads(&Creation, [1, 5, 8, 12, 17, 23]).await;
    failing_at_a_sample_of_its_reads(&Change, [2, 3, 7, 11, 16, 22]).await;
    failing_at_a_sample_of_its_reads(&Deletion, [1, 4, 6, 9, 13, 15]).await;
}

async fn failing_at_a_sample_of_its_reads(story: &impl Story, reads: [u32; 6]) {
    let struck = at_a_sample(Side::Aws, story, FAIL_READS_FOR_A_WHILE, &reads).await;
    assert_eq!(struck, 6);
}

/// Each operation of a creation fails for longer than the SDK retries.
#[tokio::test]
async fn every_operation_of_a_creation_fails_for_a_while() {
    let errors: [(u16, &str); 3] = [
        (500, "InternalError"),
        (503, "ServiceUnavailable"),
        (400, "ThrottlingException"),
    ];
    let operations = [
        "s3:HeadBucket",
        "s3:CreateBucket",
        "s3:PutBucketPolicy",
        "s3:PutBucketLifecycleConfiguration",
        "codestar-connections:ListConnections",
        "codestar-connections:CreateConnection",
        "codestar-connections:GetConnection",
        "iam:GetRole",
        "iam:CreateServiceLinkedRole",
        "iam:CreateRole",
        "iam:PutRolePolicy",
        "sns:GetTopicAttributes",
        "sns:CreateTopic",
        "codepipeline:CreatePipeline",
        "codepipeline:ListPipelineExecutions",
        "codestar-notifications:CreateNotificationRule",
    ];
    let points = operations
        .iter()
        .enumerate()
        .map(|(n, operation)| (operation, errors[n % errors.len()]));
    futures::stream::iter(points)
        .map(|(operation, (status, code))| async move {
            let slug: String = operation
                .chars()
                .filter(char::is_ascii_lowercase)
                .take(20)
                .collect();
            let mut case = Case::new(&format!("fails-{slug}"), &["--leader-elect=false"]).await;
            let (repository, commit) = case.create_repository().await;
            let effect = Effect::Fail {
                status,
                code: code.to_owned(),
                message: "for a while".to_owned(),
            };
            let fault = Fault::new(&case.account, operation, When::First(4), effect);
            let struck = fault.struck();
            case.aws().fault(fault);
            case.apply("docs", json!({"repository": repository}))
                .await
                .unwrap();
            settle_delivered(&mut case, &commit).await;
            // A creation that is authorized quickly may settle without this call; a later reconcile
            // makes it.
            case.until(|| async {
                struck
                    .load(Ordering::SeqCst)
                    .then_some(())
                    .ok_or_else(|| format!("{operation} was never called"))
            })
            .await;
            settle_delivered(&mut case, &commit).await;
            assert_whole(&mut case).await;
        })
        .buffer_unordered(4)
        .collect::<Vec<()>>()
        .await;
}
