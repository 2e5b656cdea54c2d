//! Rules of IAM's roles that the software behind does not know.

use bytes::Bytes;

use crate::enforce::fields;
use crate::front::Caller;
use crate::reply::Failure;
use crate::state::World;
use crate::upstream::elements;

const VERSION: (&str, &str) = ("Version", "2010-05-08");

/// Refuses what IAM would refuse.
///
/// A boundary has to exist (the words: openshift-online/rosa, mjgriffin1113/vanity-num-generator),
/// and a role with policies is not deleted.
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_CreateRole.html>,
/// <https://docs.aws.amazon.com/IAM/latest/APIReference/API_DeleteRole.html>
pub async fn check(
    world: &World,
    caller: &Caller,
    operation: &str,
    body: &Bytes,
) -> Result<(), Failure> {
    let form = fields(body);
    let ask = async |fields: &[(&str, &str)]| {
        let answer = world.upstream.form(caller, "iam", fields).await;
        answer.unwrap_or_default()
    };
    match operation {
        "CreateRole" | "PutRolePermissionsBoundary" => {
            let Some(boundary) = form.get("PermissionsBoundary") else {
                return Ok(());
            };
            let get = [("Action", "GetPolicy"), VERSION, ("PolicyArn", boundary)];
            if boundary.contains(":aws:policy/") || ask(&get).await.0 == 200 {
                return Ok(());
            }
            Err(Failure {
                status: 404,
                code: "NoSuchEntity".to_owned(),
                message: format!("Scope ARN: {boundary} does not exist or is not attachable."),
            })
        }
        "DeleteRole" => {
            let role = form.get("RoleName").map_or("", String::as_str);
            let list = |action| [("Action", action), VERSION, ("RoleName", role)];
            let attached = ask(&list("ListAttachedRolePolicies")).await.1;
            let inline = ask(&list("ListRolePolicies")).await.1;
            let first = if !elements(&attached, "PolicyName").is_empty() {
                "must detach all policies first"
            } else if !elements(&inline, "member").is_empty() {
                "must delete policies first"
            } else {
                return Ok(());
            };
            Err(Failure {
                status: 409,
                code: "DeleteConflict".to_owned(),
                message: format!("Cannot delete entity, {first}."),
            })
        }
        _ => Ok(()),
    }
}
