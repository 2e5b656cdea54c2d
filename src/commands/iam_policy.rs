//! `repofanout iam-policy`: the IAM policies of the operator and of the roles that it creates, put
//! together of what each resource and each feature needs.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use crate::cli::IamPolicy;
use crate::commands::say;
use crate::feature;
use crate::resource::iam;
use crate::resource::scope::{Scope, allow, both};

/// The most characters of a managed policy; white space does not count.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const MAX_CHARACTERS: usize = 6_144;

/// The most managed policies that are attached to one role, by default.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
const MAX_POLICIES: usize = 10;

/// Prints the IAM policies.
///
/// # Errors
/// `--only` names a document that is not printed, or AWS would take none of that size.
pub fn print(arguments: IamPolicy) -> Result<(), String> {
    let IamPolicy {
        account,
        region,
        partition,
        permissions_boundaries: boundaries,
        name_prefix,
        only,
        guard: principal,
        mut allow_existing,
        fold: folds,
        allow_prune,
        assume_roles,
    } = arguments;
    if folds {
        let folded = fold(&allow_existing);
        let added = folded.iter().filter(|arn| !allow_existing.contains(arn));
        for pattern in added {
            eprintln!("--fold: {pattern} also covers whatever else has such a name");
        }
        allow_existing = folded;
    }
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
    let wanted = only.as_deref();
    let mut documents = Map::new();
    if wanted.is_none_or(|name| name.starts_with("operator")) {
        let parts = documents_of(&scope)?;
        let single = parts.len() == 1;
        for (part, document) in (1..).zip(parts) {
            let name = match single {
                true => "operator".to_owned(),
                false => format!("operator-{part}"),
            };
            documents.insert(name, document);
        }
    }
    if wanted.is_none_or(|name| name == "boundary") {
        documents.insert("boundary".to_owned(), fitting_boundary(&scope)?);
    }
    if let Some(principal) = principal {
        documents.insert("guard".to_owned(), guard(&principal));
    }
    let printed = match wanted {
        None => Value::Object(documents),
        Some(name) => match documents.remove(name) {
            Some(document) => document,
            None if name == "guard" => {
                return Err("--only guard: give --guard, the ARN of the operator's role".to_owned());
            }
            None => {
                let names: Vec<&str> = documents.keys().map(String::as_str).collect();
                return Err(format!(
                    "--only {name}: with these arguments the documents are {}; create a policy of \
                     each, and attach all of the operator's to its role",
                    names.join(", ")
                ));
            }
        },
    };
    say(format!("{printed:#}"));
    Ok(())
}

/// The operator's policy, whole: AWS takes it in the parts that [`documents_of`] makes.
/// <https://docs.aws.amazon.com/service-authorization/latest/reference/reference_policies_actions-resources-contextkeys.html>
pub fn policy(scope: &Scope) -> Value {
    document(statements(scope))
}

/// The operator's policy in documents that AWS takes.
///
/// # Errors
/// A role cannot have so many.
pub fn documents_of(scope: &Scope) -> Result<Vec<Value>, String> {
    let documents = split(statements(scope));
    if documents.len() <= MAX_POLICIES {
        return Ok(documents);
    }
    Err(format!(
        "the operator's policy takes {} documents of {MAX_CHARACTERS} characters, and a role has \
         at most {MAX_POLICIES}: --allow-existing names {} ARNs; write patterns, or fold them with \
         --fold",
        documents.len(),
        scope.allow_existing.len()
    ))
}

fn statements(scope: &Scope) -> Vec<Value> {
    let mut statements = iam::statements(scope);
    // How much of the quotas is used, by everybody in the account.
    let count = ["codepipeline:ListPipelines", "iam:GetAccountSummary"];
    statements.push(allow("Quotas", count, "*"));
    statements.extend(feature::statements(scope));
    if !scope.assume_roles.is_empty() {
        let actions = ["sts:AssumeRole", "sts:TagSession"];
        statements.push(allow("Accounts", actions, &scope.assume_roles));
    }
    statements
}

fn document(statements: Vec<Value>) -> Value {
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// Characters of a document, as AWS counts them.
fn characters(document: &Value) -> usize {
    document.to_string().chars().count()
}

/// Puts the statements, in their order, into as few documents as that order allows. The resources of
/// a statement that no document holds are divided.
fn split(statements: Vec<Value>) -> Vec<Value> {
    let mut documents = Vec::new();
    let mut current: Vec<Value> = Vec::new();
    for statement in statements.into_iter().flat_map(divide) {
        current.push(statement);
        if characters(&document(current.clone())) > MAX_CHARACTERS {
            let next = current.split_off(current.len() - 1);
            documents.push(document(std::mem::replace(&mut current, next)));
        }
    }
    documents.push(document(current));
    documents
}

/// The statement, in halves until each fits into a document of its own.
fn divide(statement: Value) -> Vec<Value> {
    let resources = statement["Resource"].as_array().map_or(0, Vec::len);
    if resources < 2 || characters(&document(vec![statement.clone()])) <= MAX_CHARACTERS {
        return vec![statement];
    }
    let (mut first, mut second) = (statement.clone(), statement);
    let resources = first["Resource"].as_array_mut().expect("counted above");
    second["Resource"] = resources.split_off(resources.len() / 2).into();
    // A Sid is unique within a document, and both halves may come into the same one.
    let sid = first["Sid"].as_str().unwrap_or_default().to_owned();
    first["Sid"] = format!("{sid}A").into();
    second["Sid"] = format!("{sid}B").into();
    [first, second].into_iter().flat_map(divide).collect()
}

/// ARNs whose names begin with the same word, in one pattern: all but what follows the letters that
/// they share. Patterns and single ARNs stay as they are.
fn fold(arns: &[String]) -> Vec<String> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for arn in arns {
        groups.entry(first_word(arn)).or_default().push(arn);
    }
    let folded = groups.into_iter().flat_map(|(word, arns)| {
        if arns.len() == 1 || word.ends_with([':', '/']) {
            return arns.into_iter().map(str::to_owned).collect::<Vec<_>>();
        }
        let shared = arns.iter().copied().reduce(shared_start);
        vec![format!("{}*", shared.unwrap_or_default())]
    });
    folded.collect()
}

/// The ARN up to the end of the first word of the resource's name.
fn first_word(arn: &str) -> &str {
    let name = arn.rfind([':', '/']).map_or(0, |at| at + 1);
    let end = arn[name..].find(|c: char| !c.is_ascii_alphanumeric());
    &arn[..end.map_or(arn.len(), |end| name + end)]
}

fn shared_start<'a>(one: &'a str, other: &str) -> &'a str {
    let differs = one
        .char_indices()
        .zip(other.chars())
        .find(|((_, a), b)| a != b);
    let end = differs.map_or(one.len().min(other.len()), |((at, _), _)| at);
    // A star of a pattern covers what follows it.
    one[..end].trim_end_matches('*')
}

/// The boundary, which is one document.
fn fitting_boundary(scope: &Scope) -> Result<Value, String> {
    let boundary = boundary(scope);
    let characters = characters(&boundary);
    if characters <= MAX_CHARACTERS {
        return Ok(boundary);
    }
    Err(format!(
        "the permissions boundary has {characters} characters, AWS takes {MAX_CHARACTERS}, and a \
         boundary cannot be split: --allow-existing names {} buckets; write patterns, or fold them \
         with --fold",
        scope.existing_named("s3").len()
    ))
}

/// The permissions boundary of every role that the operator makes: copying, between buckets with
/// the operator's prefix or that it may use, over the account's connections.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/access_policies_boundaries.html>
pub fn boundary(scope: &Scope) -> Value {
    let mut buckets = vec![scope.buckets()];
    buckets.extend(scope.existing_named("s3").into_iter().cloned());
    let objects: Vec<String> = buckets.iter().map(|bucket| format!("{bucket}/*")).collect();
    let same_account = json!({"StringEquals": {"aws:ResourceAccount": scope.account}});
    json!({"Version": "2012-10-17", "Statement": [
        {
            "Sid": "Connections",
            "Effect": "Allow",
            "Action": both(&["UseConnection"]),
            "Resource": scope.usable_connections(),
        },
        {
            "Sid": "Buckets",
            "Effect": "Allow",
            "Action": ["s3:GetBucketAcl", "s3:GetBucketLocation", "s3:GetBucketVersioning"],
            "Resource": buckets,
            "Condition": same_account,
        },
        {
            "Sid": "Objects",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectVersionAcl"],
            "Resource": objects,
            "Condition": same_account,
        },
        {
            "Sid": "Keys",
            "Effect": "Allow",
            "Action": ["kms:Decrypt", "kms:GenerateDataKey"],
            "Resource": scope.regional("kms", "key/*"),
            "Condition": {"StringLike": {"kms:ViaService": "s3.*.amazonaws.com*"}},
        },
    ]})
}

/// A service control policy: nobody but this principal writes our ownership tags, where the service
/// tells AWS the keys.
/// <https://docs.aws.amazon.com/organizations/latest/userguide/orgs_manage_policies_scps.html>
pub fn guard(principal: &str) -> Value {
    let mut actions = both(&["TagResource", "UntagResource"]);
    actions.extend(
        [
            "codepipeline:TagResource",
            "codepipeline:UntagResource",
            "codestar-notifications:TagResource",
            "codestar-notifications:UntagResource",
            "events:TagResource",
            "events:UntagResource",
            "iam:TagRole",
            "iam:UntagRole",
            "s3:TagResource",
            "s3:UntagResource",
            "sns:TagResource",
            "sns:UntagResource",
            "sqs:TagQueue",
            "sqs:UntagQueue",
        ]
        .map(str::to_owned),
    );
    json!({"Version": "2012-10-17", "Statement": [{
        "Sid": "RepoFanoutOwnershipTags",
        "Effect": "Deny",
        "Action": actions,
        "Resource": "*",
        "Condition": {
            "ForAnyValue:StringLike": {"aws:TagKeys": ["repofanout.dev/*"]},
            "ArnNotLike": {"aws:PrincipalArn": principal},
        },
    }]})
}
