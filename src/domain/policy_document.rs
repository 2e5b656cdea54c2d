//! Policy documents: the operator's own, and comparison by meaning, since AWS reformats documents.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_grammar.html>

use serde_json::{Map, Value, json};

/// Sid of our statement in topic policies.
pub const PUBLISH_SID: &str = "RepoFanoutPublish";
/// Sid of our statement in queue policies.
pub const SEND_SID: &str = "RepoFanoutEvents";
/// Sid of our statement in bucket policies.
pub const TLS_SID: &str = "RepoFanoutTLSOnly";

/// The trust policy of a pipeline's role.
pub fn trust() -> Value {
    json!({
        "Version": "2012-10-17",
        "Statement": [{
            "Effect": "Allow",
            "Principal": {"Service": "codepipeline.amazonaws.com"},
            "Action": "sts:AssumeRole",
        }],
    })
}

/// The resources that a pipeline's role may use.
#[derive(Clone, Copy, Debug)]
pub struct Reach<'a> {
    /// ARNs of the connections.
    pub connections: &'a [&'a str],
    /// Name of the artifacts bucket.
    pub artifacts: &'a str,
    /// Name of the destination bucket.
    pub destination: &'a str,
    /// The prefix in the destination to which it writes; it may write everywhere if there is none.
    pub prefix: Option<&'a str>,
    /// ARN of the key that encrypts the buckets.
    pub kms_key: Option<&'a str>,
}

/// The policy of a pipeline's role: it allows what the pipeline's two actions need, on its
/// connections and its buckets.
/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/how-to-custom-role.html>
pub fn role(partition: &str, account: &str, reach: &Reach<'_>) -> Value {
    let bucket = |name: &str| super::arn::bucket(partition, name);
    let same_account = json!({"StringEquals": {"aws:ResourceAccount": account}});
    let below = reach
        .prefix
        .map_or("*".to_owned(), |prefix| format!("{prefix}/*"));
    let mut statements = vec![
        json!({
            "Sid": "Connection",
            "Effect": "Allow",
            // CodePipeline needs both, whichever prefix the connection's ARN has.
            "Action": ["codeconnections:UseConnection", "codestar-connections:UseConnection"],
            "Resource": reach.connections,
        }),
        json!({
            "Sid": "Buckets",
            "Effect": "Allow",
            "Action": ["s3:GetBucketAcl", "s3:GetBucketLocation", "s3:GetBucketVersioning"],
            "Resource": [bucket(reach.artifacts), bucket(reach.destination)],
            "Condition": same_account,
        }),
        json!({
            "Sid": "Artifacts",
            "Effect": "Allow",
            "Action": ["s3:GetObject", "s3:GetObjectVersion", "s3:PutObject"],
            "Resource": format!("{}/*", bucket(reach.artifacts)),
            "Condition": same_account,
        }),
        json!({
            "Sid": "Destination",
            "Effect": "Allow",
            "Action": ["s3:PutObject", "s3:PutObjectAcl", "s3:PutObjectVersionAcl"],
            "Resource": format!("{}/{below}", bucket(reach.destination)),
            "Condition": same_account,
        }),
    ];
    statements.extend(reach.kms_key.map(|key| {
        json!({"Sid": "Key", "Effect": "Allow", "Action": ["kms:Decrypt", "kms:GenerateDataKey"], "Resource": key})
    }));
    json!({"Version": "2012-10-17", "Statement": statements})
}

/// The statement that lets notification rules of the account publish to the topic.
/// <https://docs.aws.amazon.com/dtconsole/latest/userguide/set-up-sns.html>
pub fn publish(topic: &str, account: &str) -> Value {
    json!({
        "Sid": PUBLISH_SID,
        "Effect": "Allow",
        "Principal": {"Service": "codestar-notifications.amazonaws.com"},
        "Action": "SNS:Publish",
        "Resource": topic,
        "Condition": {"StringEquals": {"aws:SourceAccount": account}},
    })
}

/// The statement that the policy of a queue in another account needs, so that the topic may send to
/// it.
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

/// The statement that lets this EventBridge rule, and nothing else, send to the queue.
/// <https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-use-resource-based.html#eb-sqs-permissions>
pub fn send(queue: &str, rule: &str) -> Value {
    json!({
        "Sid": SEND_SID,
        "Effect": "Allow",
        "Principal": {"Service": "events.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": rule}},
    })
}

/// The event pattern for executions of pipelines whose names begin with this prefix.
/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html>
pub fn executions(name_prefix: &str) -> Value {
    json!({
        "source": ["aws.codepipeline"],
        "detail-type": ["CodePipeline Pipeline Execution State Change"],
        "detail": {"pipeline": [{"prefix": name_prefix}]},
    })
}

/// The statement that denies requests to the bucket that are not encrypted in transit.
pub fn tls_only(partition: &str, bucket: &str) -> Value {
    let arn = super::arn::bucket(partition, bucket);
    json!({
        "Sid": TLS_SID,
        "Effect": "Deny",
        "Principal": "*",
        "Action": "s3:*",
        "Resource": [arn, format!("{arn}/*")],
        "Condition": {"Bool": {"aws:SecureTransport": "false"}},
    })
}

/// The document with our statement instead of the one with the same Sid. Statements of others stay
/// as they are.
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

/// The document with these statements instead of those with our Sids.
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

/// Whether the document contains these statements, and no other one with our Sids.
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

/// The wanted statements that the document does not contain under any Sid.
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

fn is_ours(statement: &Value, sids: &[String]) -> bool {
    statement["Sid"]
        .as_str()
        .is_some_and(|sid| sids.iter().any(|ours| ours == sid))
}

/// Whether the document contains this statement, compared by meaning.
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
            // SNS's default statement, for example, admits the account's principals only.
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

/// The canonical form, for comparison: a list wherever a scalar is allowed, sorted; actions in lower
/// case; condition values as strings.
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
    fn merging_keeps_the_statements_of_others() {
        let foreign = json!({"Sid": "Theirs", "Effect": "Allow", "Principal": {"AWS": "1"}, "Action": "sns:Subscribe", "Resource": "t"});
        let ours = publish("t", "111122223333");
        let document = json!({"Version": "2008-10-17", "Id": "x", "Statement": foreign});
        let merged = merge(Some(&document), &ours);
        assert!(contains(Some(&merged), &foreign) && contains(Some(&merged), &ours));
        assert_eq!(
            (&merged["Id"], &merged["Version"]),
            (&json!("x"), &json!("2008-10-17"))
        );
        assert_eq!(merge(Some(&merged), &ours), merged);
        let stale = merge(Some(&merged), &publish("t", "999999999999"));
        assert!(!contains(Some(&stale), &ours) && contains(Some(&stale), &foreign));
    }

    #[test]
    fn an_existing_topic_lets_us_in_or_not() {
        assert!(lets_publish(Some(&merge(None, &publish("t", "1")))));
        assert!(!lets_publish(None));
        let other = json!({"Statement": {"Effect": "Allow", "Principal": {"Service": "events.amazonaws.com"}, "Action": "sns:Publish", "Resource": "t"}});
        assert!(!lets_publish(Some(&other)));
        let default = json!({"Statement": {"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["SNS:Publish"], "Resource": "t",
            "Condition": {"StringEquals": {"AWS:SourceOwner": "1"}}}});
        assert!(!lets_publish(Some(&default)));
    }
}
