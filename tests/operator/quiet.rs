//! A quiet object costs no write.

use crate::case::{Case, version};

#[tokio::test]
async fn a_quiet_object_costs_no_write() {
    let case = Case::new("quiet", &[]).await;
    case.create_delivered("docs").await;
    // The object has settled: a reconcile after the last write found nothing to do.
    let (writes, version_before) = (case.writes(), version(&case.get("docs").await));
    let looks = |case: &Case| {
        case.aws()
            .calls(&case.account)
            .iter()
            .filter(|c| c.operation == "codepipeline:ListPipelineExecutions")
            .count()
    };
    let before = looks(&case);
    case.until(|| async {
        let n = looks(&case) - before;
        if n >= 10 {
            Ok(())
        } else {
            Err(format!("{n} looks of 10"))
        }
    })
    .await;
    // A requested reconcile, too, writes nothing but its acknowledgement.
    assert_eq!(case.writes(), writes);
    assert_eq!(version(&case.get("docs").await), version_before);
    case.reconcile("docs", "1").await;
    assert_eq!(case.writes(), writes);
}

#[tokio::test]
async fn a_first_fan_out_takes_one_look_a_resource_and_the_writes_that_it_needs() {
    let case = Case::new("calls", &[]).await;
    case.create_delivered("docs").await;
    let mut writes = case.writes();
    writes.sort();
    let expected = [
        "codepipeline:CreatePipeline",
        "codestar-connections:CreateConnection",
        "codestar-notifications:CreateNotificationRule",
        "iam:CreateRole",
        "iam:CreateServiceLinkedRole",
        "iam:PutRolePolicy",
        "s3:CreateBucket",
        "s3:CreateBucket",
        "s3:PutBucketLifecycleConfiguration",
        "s3:PutBucketLifecycleConfiguration",
        "s3:PutBucketPolicy",
        "s3:PutBucketPolicy",
        "sns:CreateTopic",
    ];
    assert_eq!(writes, expected);
}
