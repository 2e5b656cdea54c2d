//! `repofanout crd`, `announcement-schema` and `iam-policy`: what the program prints about itself.

use std::path::Path;

use serde_json::json;

use crate::api;
use crate::cli::IamPolicy;
use crate::commands::say;
use crate::feature::announce::message::Announcement;
use crate::resource::iam;
use crate::resource::iam::Scope;

/// Prints the CustomResourceDefinitions, or writes each into a file of the folder.
///
/// # Errors
/// A file cannot be written.
pub fn crds(output: Option<&Path>) -> Result<(), String> {
    for (file, yaml) in api::crds() {
        match &output {
            None => say(format!("---\n{yaml}")),
            Some(folder) => {
                let path = folder.join(file);
                std::fs::write(&path, yaml).map_err(|e| format!("{}: {e}", path.display()))?;
            }
        }
    }
    Ok(())
}

/// Prints the JSON schema of announcements, or writes it into the file.
///
/// # Errors
/// The file cannot be written.
pub fn announcement_schema(output: Option<&Path>) -> Result<(), String> {
    let text = format!("{:#}", Announcement::schema());
    match output {
        None => say(text),
        Some(path) => {
            std::fs::write(path, text + "\n").map_err(|e| format!("{}: {e}", path.display()))?
        }
    }
    Ok(())
}

/// Prints the IAM policies of the operator and of the roles that it creates.
///
/// # Errors
/// `--only` names a document that is not printed.
pub fn iam_policy(policy: IamPolicy) -> Result<(), String> {
    let IamPolicy {
        account,
        region,
        partition,
        name_prefix,
        allow_existing,
        allow_prune,
        assume_roles,
        ..
    } = policy;
    let boundaries = policy.permissions_boundaries;
    let scope = Scope {
        partition,
        account,
        region,
        name_prefix,
        allow_existing,
        allow_prune,
        assume_roles,
        boundaries,
    };
    let mut documents = json!({"operator": iam::policy(&scope), "boundary": iam::boundary(&scope)});
    if let Some(principal) = &policy.guard {
        documents["guard"] = iam::guard(principal);
    }
    let printed = match policy.only {
        None => documents,
        Some(only) => documents[format!("{only:?}").to_lowercase()].take(),
    };
    if printed.is_null() {
        return Err("--only guard: give --guard, the ARN of the operator's role".to_owned());
    }
    say(format!("{printed:#}"));
    Ok(())
}
