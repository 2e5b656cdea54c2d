//! Subscribers to a fan-out's own topic.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::notifications::SubscriberSpec;
use crate::domain::refusal::{Refusal, invalid, known, known_or};
use crate::domain::word::{Word, words};

/// The subscription receives messages.
pub const CONFIRMED: &str = "CONFIRMED";
/// The subscription waits for its owner's confirmation.
pub const PENDING: &str = "PENDING";
/// The owner did not confirm in time, or has unsubscribed.
pub const EXPIRED: &str = "EXPIRED";

words! {
    /// SNS's protocols: the kinds of subscribers.
    /// <https://docs.aws.amazon.com/sns/latest/api/API_Subscribe.html>
    Protocol {
        /// A queue, by its ARN.
        Sqs = "sqs",
        /// A function, by its ARN.
        Lambda = "lambda",
        /// A URL.
        Https = "https",
        /// A mail address that gets text.
        Email = "email",
        /// A mail address that gets JSON.
        EmailJson = "email-json",
        /// A delivery stream, by its ARN.
        Firehose = "firehose",
    }
}

words! {
    /// The part of a message that a filter matches.
    /// <https://docs.aws.amazon.com/sns/latest/dg/sns-message-filtering-scope.html>
    FilterScope {
        /// The attributes, which only the operator's own announcements have.
        MessageAttributes = "MessageAttributes",
        /// The message itself.
        MessageBody = "MessageBody",
    }
}

/// One subscriber that the spec lists.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscriber {
    /// The protocol.
    pub protocol: Protocol,
    /// ARN, URL or address.
    pub endpoint: String,
    /// SNS filter policy; the subscriber gets all messages if there is none.
    pub filter_policy: Option<Value>,
    /// The part of a message that the filter matches.
    pub filter_scope: FilterScope,
    /// Whether SNS sends the message without its envelope.
    pub raw: bool,
    /// ARN of the role with which SNS delivers, for protocols that need one.
    pub role: Option<String>,
}

impl Subscriber {
    /// Parses one entry.
    pub fn parse(spec: SubscriberSpec) -> Result<Self, Refusal> {
        let filter_scope = known_or(
            "notifications.subscribers.filterPolicyScope",
            spec.filter_policy_scope.as_deref(),
            FilterScope::MessageAttributes,
        )?;
        let nests = spec.filter_policy.as_ref().is_some_and(nested);
        if nests && filter_scope == FilterScope::MessageAttributes {
            return Err(invalid(format!(
                "notifications.subscribers.filterPolicy: the one of {} {} has a key within a key, \
                 and SNS takes that only for the body of a message; write filterPolicyScope: \
                 MessageBody beside it, or a filter without nested keys",
                spec.protocol, spec.endpoint
            )));
        }
        Ok(Self {
            protocol: known("notifications.subscribers.protocol", &spec.protocol)?,
            endpoint: spec.endpoint,
            filter_policy: spec.filter_policy,
            filter_scope,
            raw: spec.raw_message_delivery.unwrap_or(false),
            role: spec.subscription_role_arn,
        })
    }

    /// Whether a person receives the messages, and may unsubscribe.
    pub fn is_person(&self) -> bool {
        matches!(self.protocol, Protocol::Email | Protocol::EmailJson)
    }

    /// The desired attributes of the subscription, by SNS's names, in the order in which SNS takes
    /// them one by one: it refuses a nested filter policy as long as the scope is the attributes, so
    /// that the body becomes the scope before the policy is set, and the attributes after it.
    /// <https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html>
    fn attributes(&self) -> Vec<(&'static str, String)> {
        let filter = self
            .filter_policy
            .as_ref()
            .map_or_else(|| "{}".to_owned(), Value::to_string);
        let mut attributes = vec![("FilterPolicy", filter)];
        if self.filter_policy.is_some() {
            let scope = ("FilterPolicyScope", self.filter_scope.as_str().to_owned());
            match self.filter_scope {
                FilterScope::MessageBody => attributes.insert(0, scope),
                FilterScope::MessageAttributes => attributes.push(scope),
            }
        }
        if matches!(
            self.protocol,
            Protocol::Sqs | Protocol::Https | Protocol::Firehose
        ) {
            attributes.push(("RawMessageDelivery", self.raw.to_string()));
        }
        attributes.extend(self.role.clone().map(|role| ("SubscriptionRoleArn", role)));
        attributes
    }

    /// The desired attributes that differ from the present ones, in the order in which they have to
    /// be written.
    pub fn differs(&self, present: &BTreeMap<String, String>) -> Vec<(&'static str, String)> {
        let mut wanted = self.attributes();
        wanted.retain(|(name, value)| {
            let default = match *name {
                "FilterPolicy" => "{}",
                "FilterPolicyScope" => FilterScope::MessageAttributes.as_str(),
                "SubscriptionRoleArn" => "",
                _ => "false",
            };
            let there = present.get(*name).map_or(default, String::as_str);
            let parsed = |text: &str| serde_json::from_str::<Value>(text).ok();
            there != value && (*name != "FilterPolicy" || parsed(there) != parsed(value))
        });
        wanted
    }
}

/// Whether a filter policy has a key within a key; what `$or` lists are filters themselves.
/// <https://docs.aws.amazon.com/sns/latest/dg/and-or-logic.html>
fn nested(filter: &Value) -> bool {
    let Value::Object(keys) = filter else {
        return false;
    };
    keys.iter().any(|(key, value)| match value {
        Value::Array(all) if key == "$or" => all.iter().any(nested),
        other => other.is_object(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_are_compared_by_meaning() {
        let subscriber = Subscriber {
            protocol: Protocol::Sqs,
            endpoint: "arn:aws:sqs:eu-west-1:111122223333:q".into(),
            filter_policy: Some(serde_json::json!({"branch": ["main"]})),
            filter_scope: FilterScope::MessageAttributes,
            raw: true,
            role: None,
        };
        let present = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
            pairs
                .iter()
                .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
                .collect()
        };
        let same = present(&[
            ("FilterPolicy", "{ \"branch\": [\"main\"] }"),
            ("RawMessageDelivery", "true"),
        ]);
        assert!(subscriber.differs(&same).is_empty());
        let names: Vec<&str> = subscriber
            .differs(&present(&[]))
            .into_iter()
            .map(|(name, _)| name)
            .collect();
        assert_eq!(names, ["FilterPolicy", "RawMessageDelivery"]);
        let plain = Subscriber {
            filter_policy: None,
            raw: false,
            ..subscriber
        };
        assert!(plain.differs(&present(&[])).is_empty());
        assert_eq!(
            plain.differs(&same)[0],
            ("FilterPolicy", "{}".to_owned()),
            "a filter that is not wanted any more goes"
        );
    }

    #[test]
    fn a_scope_is_written_where_sns_takes_it() {
        let subscriber = |filter: Value, filter_scope| Subscriber {
            protocol: Protocol::Lambda,
            endpoint: "arn:aws:lambda:eu-west-1:111122223333:function:f".into(),
            filter_policy: Some(filter),
            filter_scope,
            raw: false,
            role: None,
        };
        let nested = serde_json::json!({"detail": {"state": ["SUCCEEDED"]}});
        let body = subscriber(nested, FilterScope::MessageBody);
        let flat = subscriber(
            serde_json::json!({"branch": ["main"]}),
            FilterScope::MessageAttributes,
        );
        let as_set = |subscriber: &Subscriber| -> BTreeMap<String, String> {
            let all = subscriber.attributes().into_iter();
            all.map(|(name, value)| (name.to_owned(), value)).collect()
        };
        let names = |wanted: &Subscriber, present: &Subscriber| -> Vec<&'static str> {
            let differs = wanted.differs(&as_set(present));
            differs.into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(names(&body, &flat), ["FilterPolicyScope", "FilterPolicy"]);
        assert_eq!(names(&flat, &body), ["FilterPolicy", "FilterPolicyScope"]);
    }

    #[test]
    fn a_filter_has_a_scope_and_only_some_take_raw_messages() {
        let parse = |protocol: &str, fields: Value| {
            let mut spec = serde_json::json!({"protocol": protocol, "endpoint": "e"});
            let fields = fields.as_object().unwrap().clone();
            spec.as_object_mut().unwrap().extend(fields);
            Subscriber::parse(serde_json::from_value(spec).unwrap())
        };
        for protocol in Protocol::ALL {
            let subscriber = parse(protocol.as_str(), serde_json::json!({})).unwrap();
            let raw = ["sqs", "https", "firehose"].contains(&protocol.as_str());
            let attributes = subscriber.attributes();
            let has = |wanted: &str| attributes.iter().any(|(name, _)| *name == wanted);
            assert_eq!(has("RawMessageDelivery"), raw, "{protocol:?}");
            assert!(!has("FilterPolicyScope"));
            let person = protocol.as_str().starts_with("email");
            assert_eq!(subscriber.is_person(), person, "{protocol:?}");
        }
        let body =
            serde_json::json!({"filterPolicy": {"a": [1]}, "filterPolicyScope": "MessageBody"});
        let attributes = parse("sqs", body).unwrap().attributes();
        let scope = ("FilterPolicyScope", "MessageBody".to_owned());
        assert!(attributes.contains(&scope), "{attributes:?}");
        for (protocol, scope) in [("SQS", "MessageBody"), ("sqs", "Body")] {
            let fields = serde_json::json!({"filterPolicyScope": scope});
            assert!(parse(protocol, fields).is_err(), "{protocol} {scope}");
        }
        for (filter, flat) in [
            (serde_json::json!({"a": [{"prefix": "x"}], "b": [1]}), true),
            (serde_json::json!({"$or": [{"a": [1]}, {"b": [2]}]}), true),
            (serde_json::json!({"a": {"b": [1]}}), false),
            (serde_json::json!({"$or": [{"a": {"b": [1]}}]}), false),
        ] {
            let parsed = parse("sqs", serde_json::json!({"filterPolicy": filter}));
            assert_eq!(parsed.is_ok(), flat, "{filter}");
            let body =
                serde_json::json!({"filterPolicy": filter, "filterPolicyScope": "MessageBody"});
            assert!(parse("sqs", body).is_ok(), "{filter}");
        }
    }
}
