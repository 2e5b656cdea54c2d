//! Evaluates policies as IAM does, as far as those of the tests go; what it does not
//! know it refuses aloud.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>

use std::collections::HashMap;

use serde_json::Value;
use wildmatch::WildMatch;

/// What is asked.
pub struct Request<'a> {
    /// Service principal or ARN of an account, where a resource or trust policy is asked.
    pub principal: Option<&'a str>,
    /// Such as `s3:PutObject`.
    pub action: &'a str,
    /// ARN; empty where the policy is of the resource itself.
    pub resource: &'a str,
    /// Condition keys, in lower case.
    pub context: HashMap<&'static str, String>,
}

/// What policies say of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// One allows it, and none denies it.
    Allowed,
    /// One denies it.
    Denied,
    /// None says anything of it, which is a refusal, too.
    Silent,
}

/// Whether the policies allow it: one allows, none denies.
pub fn allows(policies: &[Value], request: &Request<'_>) -> Result<bool, String> {
    Ok(decide(policies, request)? == Decision::Allowed)
}

/// What the policies say.
pub fn decide(policies: &[Value], request: &Request<'_>) -> Result<Decision, String> {
    let mut decision = Decision::Silent;
    for statement in policies.iter().flat_map(statements) {
        if !applies(&statement, request)? {
            continue;
        }
        match statement["Effect"].as_str() {
            Some("Allow") => decision = Decision::Allowed,
            Some("Deny") => return Ok(Decision::Denied),
            other => {
                return Err(format!(
                    "policy: Effect {other:?} is neither Allow nor Deny"
                ));
            }
        }
    }
    Ok(decision)
}

fn statements(policy: &Value) -> Vec<Value> {
    match &policy["Statement"] {
        Value::Array(all) => all.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

fn applies(statement: &Value, request: &Request<'_>) -> Result<bool, String> {
    const KNOWN: [&str; 6] = [
        "Sid",
        "Effect",
        "Action",
        "Resource",
        "Principal",
        "Condition",
    ];
    let object = statement
        .as_object()
        .ok_or("policy: a statement is no object")?;
    if let Some(unknown) = object.keys().find(|k| !KNOWN.contains(&k.as_str())) {
        return Err(format!("policy: this evaluator does not know '{unknown}'"));
    }
    let matches = |value: &Value, text: &str, fold: bool| {
        list(value).iter().any(|pattern| {
            if fold {
                WildMatch::new(&pattern.to_ascii_lowercase()).matches(&text.to_ascii_lowercase())
            } else {
                WildMatch::new(pattern).matches(text)
            }
        })
    };
    if !matches(&statement["Action"], request.action, true) {
        return Ok(false);
    }
    if object.contains_key("Resource")
        && !request.resource.is_empty()
        && !matches(&statement["Resource"], request.resource, false)
    {
        return Ok(false);
    }
    if let Some(principal_of) = request.principal {
        let principal = &statement["Principal"];
        let named = principal == &Value::from("*")
            || list(&principal["Service"])
                .iter()
                .any(|p| p == principal_of)
            || list(&principal["AWS"])
                .iter()
                .any(|p| p == "*" || p == principal_of);
        if !named {
            return Ok(false);
        }
    }
    for (operator, keys) in statement["Condition"].as_object().into_iter().flatten() {
        for (key, wanted) in keys.as_object().into_iter().flatten() {
            let wanted = list(wanted);
            let has = request.context.get(key.to_ascii_lowercase().as_str());
            let holds = match operator.as_str() {
                "StringEquals" => has.is_some_and(|h| wanted.contains(h)),
                "StringLike" | "ArnLike" | "ArnEquals" => {
                    has.is_some_and(|h| wanted.iter().any(|w| WildMatch::new(w).matches(h)))
                }
                "ForAllValues:StringEquals" => has.is_none_or(|h| wanted.contains(h)),
                "Bool" => has.is_some_and(|h| wanted.contains(h)),
                other => {
                    return Err(format!(
                        "policy: this evaluator does not know the condition operator '{other}'"
                    ));
                }
            };
            if !holds {
                return Ok(false);
            }
        }
    }
    Ok(true)
}

fn list(value: &Value) -> Vec<String> {
    let text = |v: &Value| v.as_str().map_or_else(|| v.to_string(), str::to_owned);
    match value {
        Value::Array(all) => all.iter().map(text).collect(),
        Value::Null => Vec::new(),
        one => vec![text(one)],
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn ask(policy: Value, action: &str, resource: &str) -> Result<bool, String> {
        let context = HashMap::from([("aws:resourceaccount", "1".to_owned())]);
        allows(
            &[policy],
            &Request {
                principal: None,
                action,
                resource,
                context,
            },
        )
    }

    #[test]
    fn a_deny_beats_an_allow_and_silence_denies() {
        let policy = json!({"Statement": [
            {"Effect": "Allow", "Action": "s3:*", "Resource": "arn:aws:s3:::b/*"},
            {"Effect": "Deny", "Action": "s3:PutObject", "Resource": "arn:aws:s3:::b/secret/*"}]});
        assert_eq!(
            ask(policy.clone(), "s3:PutObject", "arn:aws:s3:::b/open/x"),
            Ok(true)
        );
        assert_eq!(
            ask(policy.clone(), "s3:PutObject", "arn:aws:s3:::b/secret/x"),
            Ok(false)
        );
        assert_eq!(
            ask(policy, "s3:PutObject", "arn:aws:s3:::other/x"),
            Ok(false)
        );
    }

    #[test]
    fn conditions_hold_and_unknown_ones_are_refused_aloud() {
        let with = |condition: Value| json!({"Statement": {"Effect": "Allow", "Action": "s3:Get*", "Resource": "*", "Condition": condition}});
        assert_eq!(
            ask(
                with(json!({"StringEquals": {"aws:ResourceAccount": "1"}})),
                "s3:GetObject",
                "r"
            ),
            Ok(true)
        );
        assert_eq!(
            ask(
                with(json!({"StringEquals": {"aws:ResourceAccount": "2"}})),
                "s3:GetObject",
                "r"
            ),
            Ok(false)
        );
        assert!(
            ask(
                with(json!({"DateLessThan": {"aws:CurrentTime": "2026"}})),
                "s3:GetObject",
                "r"
            )
            .is_err()
        );
    }
}
