//! The role that lets codestar-notifications watch pipelines. It is the account's, one for all, and
//! stays when an object goes.

use serde_json::Value;

use crate::resource::scope::{Scope, allow};

/// What people call it.
pub(super) const NAME: &str = "of CodeStar Notifications, once an account";

/// Whether it is to be made: before the first notification rule of the account.
pub(super) fn is_missing(wants_rule: bool, has_rule: bool, there: bool) -> bool {
    wants_rule && !has_rule && !there
}

/// IAM statement of the operator to make it.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let Scope {
        partition, account, ..
    } = scope;
    let role = format!(
        "arn:{partition}:iam::{account}:role/aws-service-role/codestar-notifications.amazonaws.com/*"
    );
    let actions = ["iam:CreateServiceLinkedRole", "iam:GetRole"];
    vec![allow("ServiceLinkedRole", actions, role)]
}
