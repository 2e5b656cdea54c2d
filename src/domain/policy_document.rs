//! Policy documents: ours, and what they mean, so that AWS may reformat them.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

/// What the policy of a queue in another account needs, to take what the topic sends.
/// <https://docs.aws.amazon.com/sns/latest/dg/subscribe-sqs-queue-to-sns-topic.html>
pub fn receive(queue: &str, topic: &str) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    })
}

/// The document with our statement in the place of the one with its Sid; the
/// statements of others stay as they are.
pub fn merge(document: Option<&Value>, statement: &Value) -> Value {
    let sid = &statement["Sid"];
    let mut statements: Vec<Value> = document.map(statements).unwrap_or_default();
    match statements.iter_mut().find(|s| &s["Sid"] == sid) {
        Some(ours) => *ours = statement.clone(),
        None => statements.push(statement.clone()),
    }
    let mut merged = document
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_else(|| Map::from_iter([("Version".to_owned(), json!("2012-10-17"))]));
    merged.insert("Statement".to_owned(), Value::Array(statements));
    Value::Object(merged)
}

/// The document with these statements in the place of those with our Sids.
pub fn replace(document: Option<&Value>, sids: &[String], ours: &[Value]) -> Value {
    let mut kept = document
        .cloned()
        .unwrap_or_else(|| json!({"Version": "2012-10-17"}));
    let mut all = statements(&kept);
    all.retain(|s| !is_ours(s, sids));
    all.extend(ours.iter().cloned());
    kept["Statement"] = json!(all);
    kept
}

/// Whether the document holds these statements, and nothing else with our Sids.
pub fn holds(document: Option<&Value>, sids: &[String], ours: &[Value]) -> bool {
    let with_sid = document
        .map(statements)
        .unwrap_or_default()
        .iter()
        .filter(|s| is_ours(s, sids))
        .count();
    with_sid == ours.len() && ours.iter().all(|s| contains(document, s))
}

/// Whether any statement has one of our Sids.
pub fn has_sid(document: Option<&Value>, sids: &[String]) -> bool {
    document
        .map(statements)
        .unwrap_or_default()
        .iter()
        .any(|s| is_ours(s, sids))
}

/// Those of the statements that the document does not hold, under whatever Sid.
pub fn missing<'a>(document: Option<&Value>, wanted: &'a [Value]) -> Vec<&'a Value> {
    let bare = |statement: &Value| {
        let mut bare = statement.clone();
        bare["Sid"] = Value::Null;
        canonical(&bare)
    };
    let there: Vec<Value> = document
        .map(statements)
        .unwrap_or_default()
        .iter()
        .map(bare)
        .collect();
    wanted
        .iter()
        .filter(|s| !there.contains(&bare(s)))
        .collect()
}

/// A principal that a policy named until it was taken out, and the Sid of the statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Gone {
    /// The statement's Sid; empty if it has none.
    pub sid: String,
    /// The principal.
    pub principal: String,
}

/// Whether this is the unique id of a role or a user, which AWS shows in the place of the ARN of one
/// that was deleted, and takes from nobody.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_identifiers.html#identifiers-prefixes>
pub fn is_gone(principal: &str) -> bool {
    let id = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit();
    (principal.starts_with("AROA") || principal.starts_with("AIDA"))
        && principal.len() > 15
        && principal.chars().all(id)
}

/// The document without the principals that are gone, and who those were.
pub fn without(document: &Value, gone: impl Fn(&str) -> bool) -> (Value, Vec<Gone>) {
    let (kept, taken) = leave_out(&statements(document), gone);
    let mut document = document.clone();
    document["Statement"] = json!(kept);
    (document, taken)
}

/// The statements without the principals that are gone, and who those were. A statement that names
/// nobody else goes with them: it concerned nobody any more. One that says who is not meant stays if
/// it names nobody else, as it would mean everybody then.
pub fn leave_out(all: &[Value], gone: impl Fn(&str) -> bool) -> (Vec<Value>, Vec<Gone>) {
    let mut taken = Vec::new();
    let mut kept = Vec::new();
    for statement in all {
        let mut statement = statement.clone();
        let mut nobody = false;
        for key in ["Principal", "NotPrincipal"] {
            let Some(principals) = statement[key]["AWS"].as_array().cloned().or_else(|| {
                let one = statement[key]["AWS"].as_str()?;
                Some(vec![json!(one)])
            }) else {
                continue;
            };
            let (out, left): (Vec<Value>, Vec<Value>) = principals
                .into_iter()
                .partition(|one| one.as_str().is_some_and(&gone));
            let others = statement[key].as_object().map_or(0, Map::len) - 1;
            if out.is_empty() || (key == "NotPrincipal" && left.is_empty() && others == 0) {
                continue;
            }
            let sid = statement["Sid"].as_str().unwrap_or_default().to_owned();
            taken.extend(out.iter().filter_map(Value::as_str).map(|one| Gone {
                sid: sid.clone(),
                principal: one.to_owned(),
            }));
            nobody = left.is_empty() && others == 0;
            match (left.is_empty(), statement[key].as_object_mut()) {
                (true, Some(principals)) => drop(principals.remove("AWS")),
                _ => statement[key]["AWS"] = json!(left),
            }
        }
        if !nobody {
            kept.push(statement);
        }
    }
    (kept, taken)
}

/// The roles, users and accounts that statements name.
pub fn principals(statements: &[Value]) -> BTreeSet<String> {
    let named = statements.iter().map(|s| &s["Principal"]["AWS"]);
    named.flat_map(texts).collect()
}

/// The texts of a list, or of one alone: a policy takes both for actions, resources and the like.
pub fn texts(value: &Value) -> Vec<String> {
    match value {
        Value::Array(all) => all
            .iter()
            .filter_map(Value::as_str)
            .map(str::to_owned)
            .collect(),
        one => one.as_str().map(str::to_owned).into_iter().collect(),
    }
}

/// The roles, users and accounts that a document names.
pub fn named(document: &Value) -> BTreeSet<String> {
    principals(&statements(document))
}

/// The statements of a document that have one of our Sids.
pub fn ours(document: Option<&Value>, sids: &[String]) -> Vec<Value> {
    let all = document.map(statements).unwrap_or_default();
    all.into_iter().filter(|s| is_ours(s, sids)).collect()
}

fn is_ours(statement: &Value, sids: &[String]) -> bool {
    statement["Sid"]
        .as_str()
        .is_some_and(|sid| sids.iter().any(|ours| ours == sid))
}

/// Whether the document holds our statement, as it is to be.
pub fn contains(document: Option<&Value>, statement: &Value) -> bool {
    document
        .map(statements)
        .unwrap_or_default()
        .iter()
        .any(|s| same(s, statement))
}

/// Whether an existing topic's policy lets notification rules publish.
pub fn lets_publish(document: Option<&Value>) -> bool {
    document
        .map(statements)
        .unwrap_or_default()
        .iter()
        .map(canonical)
        .any(|s| {
            let principal = &s["Principal"];
            let service = principal["Service"].as_array();
            let named = service
                .is_some_and(|p| p.contains(&json!("codestar-notifications.amazonaws.com")))
                || principal["*"] == json!(["*"])
                || principal["AWS"]
                    .as_array()
                    .is_some_and(|p| p.contains(&json!("*")));
            let publishes = s["Action"].as_array().is_some_and(|actions| {
                actions
                    .iter()
                    .filter_map(Value::as_str)
                    .any(|a| matches!(a, "sns:publish" | "sns:*" | "*"))
            });
            // SNS's own default statement, for one, holds for the account's principals alone.
            let keys = s["Condition"]
                .as_object()
                .into_iter()
                .flatten()
                .filter_map(|(_, keys)| keys.as_object())
                .flatten();
            let open = keys
                .into_iter()
                .all(|(key, _)| key == "aws:sourceaccount" || key == "aws:sourcearn");
            s["Effect"] == json!("Allow") && named && publishes && open
        })
}

/// Whether two documents or statements mean the same, however AWS reformatted them.
pub fn same(a: &Value, b: &Value) -> bool {
    canonical(a) == canonical(b)
}

fn statements(document: &Value) -> Vec<Value> {
    match &document["Statement"] {
        Value::Array(statements) => statements.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    }
}

/// Lists where a scalar may stand, sorted; actions in lower case; condition
/// values as strings.
fn canonical(value: &Value) -> Value {
    let Value::Object(object) = value else {
        return value.clone();
    };
    let mut out = Map::new();
    for (key, value) in object {
        let value = match key.as_str() {
            "Statement" => {
                let mut all: Vec<Value> = statements(&json!({"Statement": value}))
                    .iter()
                    .map(canonical)
                    .collect();
                all.sort_by_key(Value::to_string);
                Value::Array(all)
            }
            "Action" | "NotAction" => set(value, str::to_ascii_lowercase),
            "Resource" | "NotResource" => set(value, str::to_owned),
            "Principal" | "NotPrincipal" => match value {
                Value::Object(kinds) => kinds
                    .iter()
                    .map(|(k, v)| (k.clone(), set(v, str::to_owned)))
                    .collect(),
                any => json!({"*": set(any, str::to_owned)}),
            },
            "Condition" => match value {
                Value::Object(operators) => operators
                    .iter()
                    .map(|(operator, keys)| {
                        let keys: Map<String, Value> = keys
                            .as_object()
                            .into_iter()
                            .flatten()
                            .map(|(k, v)| (k.to_ascii_lowercase(), set(v, str::to_owned)))
                            .collect();
                        (operator.clone(), Value::Object(keys))
                    })
                    .collect(),
                other => other.clone(),
            },
            _ => value.clone(),
        };
        out.insert(key.clone(), value);
    }
    Value::Object(out)
}

fn set(value: &Value, write: impl Fn(&str) -> String) -> Value {
    let text = |v: &Value| write(&v.as_str().map_or_else(|| v.to_string(), str::to_owned));
    let mut all: Vec<String> = match value {
        Value::Array(values) => values.iter().map(text).collect(),
        one => vec![text(one)],
    };
    all.sort();
    all.dedup();
    json!(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_compared_by_meaning() {
        let ours = json!({"Version": "2012-10-17", "Statement": [
            {"Sid": "A", "Effect": "Allow", "Action": ["s3:GetObject", "s3:PutObject"], "Resource": "r",
             "Condition": {"Bool": {"aws:SecureTransport": "false"}}},
            {"Sid": "B", "Effect": "Deny", "Principal": "*", "Action": "s3:*", "Resource": ["x", "y"]}]});
        let theirs = json!({"Statement": [
            {"Sid": "B", "Effect": "Deny", "Principal": "*", "Action": ["S3:*"], "Resource": ["y", "x"]},
            {"Sid": "A", "Effect": "Allow", "Action": ["s3:putobject", "s3:getobject"], "Resource": ["r"],
             "Condition": {"Bool": {"AWS:SecureTransport": false}}}], "Version": "2012-10-17"});
        assert!(same(&ours, &theirs));
        let mut other = theirs.clone();
        other["Statement"][0]["Resource"] = json!(["y"]);
        assert!(!same(&ours, &other));
    }

    #[test]
    fn who_is_gone_is_taken_out_and_a_statement_for_nobody_else_goes() {
        let dead = "AROAEXAMPLE1234567890";
        let statement = |sid: &str, key: &str, who: Value| json!({"Sid": sid, "Effect": "Deny", key: who, "Action": "s3:*"});
        let document = json!({"Version": "2012-10-17", "Statement": [
            statement("Alone", "Principal", json!({"AWS": dead})),
            statement("Beside", "Principal", json!({"AWS": [dead, "arn:aws:iam::1:root"]})),
            statement("Service", "Principal", json!({"AWS": [dead], "Service": "s"})),
            statement("Not", "NotPrincipal", json!({"AWS": [dead, "arn:aws:iam::1:root"]})),
            statement("NotAlone", "NotPrincipal", json!({"AWS": dead})),
            statement("All", "Principal", json!("*")),
        ]});
        let (rest, gone) = without(&document, is_gone);
        let kept = [
            statement(
                "Beside",
                "Principal",
                json!({"AWS": ["arn:aws:iam::1:root"]}),
            ),
            statement("Service", "Principal", json!({"Service": "s"})),
            statement(
                "Not",
                "NotPrincipal",
                json!({"AWS": ["arn:aws:iam::1:root"]}),
            ),
            statement("NotAlone", "NotPrincipal", json!({"AWS": dead})),
            statement("All", "Principal", json!("*")),
        ];
        assert_eq!(rest, json!({"Version": "2012-10-17", "Statement": kept}));
        let sids: Vec<&str> = gone.iter().map(|gone| &*gone.sid).collect();
        assert_eq!(sids, ["Alone", "Beside", "Service", "Not"]);
        for alive in [
            "AROA",
            "arn:aws:iam::1:role/AROAEXAMPLE1234567890",
            "*",
            "AROAexample1234567890",
        ] {
            assert!(!is_gone(alive), "{alive}");
        }
        assert!(is_gone("AIDAEXAMPLE1234567890"));
    }

    #[test]
    fn merging_keeps_the_statements_of_others() {
        let foreign = json!({"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "1"}, "Action": "sns:Subscribe", "Resource": "t"});
        let ours = json!({"Sid": "Ours", "Effect": "Allow", "Principal": {"Service": "s"}, "Action": "sns:Publish", "Resource": "t"});
        let document = json!({"Version": "2008-10-17", "Id": "x", "Statement": foreign});
        let merged = merge(Some(&document), &ours);
        assert!(contains(Some(&merged), &foreign) && contains(Some(&merged), &ours));
        assert_eq!(
            (&merged["Id"], &merged["Version"]),
            (&json!("x"), &json!("2008-10-17"))
        );
        assert_eq!(merge(Some(&merged), &ours), merged);
        let mut other = ours.clone();
        other["Resource"] = json!("u");
        let stale = merge(Some(&merged), &other);
        assert!(!contains(Some(&stale), &ours) && contains(Some(&stale), &foreign));
    }
}
