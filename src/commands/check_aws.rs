//! The part of `repofanout check` that asks AWS.

use std::sync::Arc;

use serde_json::Value;

use crate::aws::{Aws, Denied};
use crate::cli::Check;
use crate::cloud::{Class, Error};
use crate::commands::report::Report;
use crate::commands::{aws_options, iam_policy, say};
use crate::domain::arn;
use crate::domain::denial::PolicyType;
use crate::domain::policy_document::texts;
use crate::domain::word::Word;
use crate::metrics::Metrics;
use crate::resource::scope::Scope;

/// Reports what is missing in AWS.
pub(super) async fn amazon(report: &mut Report, check: &Check) {
    let aws = match Aws::connect(aws_options(&check.shared, true), Arc::<Metrics>::default()).await
    {
        Ok(aws) => aws,
        Err(wrong) => {
            report.add("AWS", Err(wrong));
            return;
        }
    };
    let identity = aws.identity().clone();
    report.add(
        "AWS credentials",
        Ok(format!("{} in account {}", identity.arn, identity.account)),
    );
    report.add("AWS region", Ok(aws.home().to_owned()));
    let principal = match &check.principal {
        Some(principal) => principal.clone(),
        None => aws.principal().await,
    };
    if principal.ends_with(":root") {
        say(
            "         the root user may do everything: run the operator with a role that has the \
                 policy which `repofanout iam-policy` prints",
        );
        return;
    }
    let scope = Scope {
        partition: identity.partition,
        account: identity.account,
        region: aws.home().to_owned(),
        name_prefix: check.shared.name_prefix.clone(),
        allow_existing: check.shared.allow_existing.clone(),
        allow_prune: check.shared.allow_prune,
        boundaries: check
            .shared
            .permissions_boundary
            .clone()
            .into_iter()
            .collect(),
        assume_roles: Vec::new(),
    };
    for statement in statements(&iam_policy::policy(&scope)) {
        let Statement {
            sid,
            actions,
            resources,
            conditions,
        } = &statement;
        let denied = aws.denied(&principal, actions, resources, conditions).await;
        let found = match denied {
            Ok(denied) if denied.is_empty() => Ok("allowed".to_owned()),
            Ok(denied) => Err(missing(&principal, &denied, &statement)),
            Err(error) if error.class == Class::Denied => {
                say(format!(
                    "unknown  AWS permissions: {} was refused: allow it on {principal}, or run \
                         this command with other credentials and --principal",
                    error.call
                ));
                return;
            }
            Err(error) => Err(error.to_string()),
        };
        report.add(&format!("AWS permissions {sid}"), found);
    }
    for name in &scope.boundaries {
        boundary(report, &aws, &scope, name).await;
    }
}

/// Reports whether the permissions boundary exists, and allows what the pipelines' roles need.
async fn boundary(report: &mut Report, aws: &Aws, scope: &Scope, name: &str) {
    let arn = arn::policy(&scope.partition, &scope.account, name);
    let subject = format!("AWS permissions boundary {arn}");
    let unknown = |error: &Error| {
        say(format!(
            "unknown  {subject}: {} was refused: run this command with credentials that may call it",
            error.call
        ));
    };
    let policy = match aws.managed_policy(&arn).await {
        Ok(Some(policy)) => policy,
        Ok(None) => {
            let wrong = "there is no such policy in this account; create it, as `repofanout \
                         iam-policy --only boundary` prints it";
            report.add(&subject, Err(wrong.to_owned()));
            return;
        }
        Err(error) if error.class == Class::Denied => return unknown(&error),
        Err(error) => {
            report.add(&subject, Err(error.to_string()));
            return;
        }
    };
    let mut wrong = Vec::new();
    for statement in statements(&iam_policy::boundary(scope)) {
        let Statement {
            sid,
            actions,
            resources,
            conditions,
        } = statement;
        let denied = aws.not_within(&policy, &actions, &resources, &conditions);
        match denied.await {
            Ok(denied) if denied.is_empty() => {}
            Ok(denied) => {
                let actions: Vec<String> = denied.into_iter().map(|d| d.action).collect();
                wrong.push(format!("{} (statement {sid})", actions.join(", ")));
            }
            Err(error) if error.class == Class::Denied => return unknown(&error),
            Err(error) => wrong.push(error.to_string()),
        }
    }
    let found = match wrong.is_empty() {
        true => Ok("exists, and allows what pipelines do".to_owned()),
        false => Err(format!(
            "it does not allow the roles of pipelines to {}; add what `repofanout iam-policy --only \
             boundary` prints",
            wrong.join("; ")
        )),
    };
    report.add(&subject, found);
}

/// A statement of a printed policy, with an example for each of its resources.
struct Statement {
    sid: String,
    actions: Vec<String>,
    resources: Vec<String>,
    conditions: Value,
}

fn statements(policy: &Value) -> Vec<Statement> {
    let all = policy["Statement"].as_array().into_iter().flatten();
    all.map(|statement| Statement {
        sid: statement["Sid"].as_str().unwrap_or_default().to_owned(),
        actions: texts(&statement["Action"]),
        // One example name stands for all names that the pattern covers.
        resources: texts(&statement["Resource"])
            .iter()
            .map(|r| example(r))
            .collect(),
        conditions: statement["Condition"].clone(),
    })
    .collect()
}

/// What the principal may not do, and which policy has to change.
fn missing(principal: &str, denied: &[Denied], statement: &Statement) -> String {
    let Statement { sid, resources, .. } = statement;
    let by = |limit: Option<PolicyType>| {
        let of = denied.iter().filter(|d| d.limit == limit);
        let actions: Vec<&str> = of.map(|d| &*d.action).collect();
        actions.join(", ")
    };
    let resources = resources.join(", ");
    let mut limits: Vec<Option<PolicyType>> = denied.iter().map(|d| d.limit).collect();
    limits.sort_unstable();
    limits.dedup();
    let one = |limit: Option<PolicyType>| match limit {
        None => format!(
            "{principal} may not {} on {resources}; add statement {sid} of the policy that \
             `repofanout iam-policy` prints",
            by(limit)
        ),
        Some(PolicyType::ServiceControl) => format!(
            "a service control policy of the AWS organization denies {} on {resources}; ask whoever \
             manages the organization to allow it for this account",
            by(limit)
        ),
        Some(other) => format!(
            "the {} of {principal} denies {} on {resources}; allow it there, too",
            other.as_str(),
            by(limit)
        ),
    };
    let all: Vec<String> = limits.into_iter().map(one).collect();
    all.join("; ")
}

/// An example of a resource that the pattern covers.
fn example(pattern: &str) -> String {
    if pattern == "*" {
        pattern.to_owned()
    } else {
        pattern.replace('*', "check")
    }
}
