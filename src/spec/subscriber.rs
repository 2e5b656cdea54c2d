//! Subscribers to a fan-out's own topic.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::notifications::SubscriberSpec;
use crate::domain::refusal::{Refusal, known, known_or};
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
        Ok(Self {
            protocol: known("notifications.subscribers.protocol", &spec.protocol)?,
            endpoint: spec.endpoint,
            filter_policy: spec.filter_policy,
            filter_scope: known_or(
                "notifications.subscribers.filterPolicyScope",
                spec.filter_policy_scope.as_deref(),
                FilterScope::MessageAttributes,
            )?,
            raw: spec.raw_message_delivery.unwrap_or(false),
            role: spec.subscription_role_arn,
        })
    }

    /// Whether a person receives the messages, and may unsubscribe.
    pub fn is_person(&self) -> bool {
        matches!(self.protocol, Protocol::Email | Protocol::EmailJson)
    }

    /// The desired attributes of the subscription, by SNS's names.
    /// <https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html>
    pub fn attributes(&self) -> BTreeMap<&'static str, String> {
        let filter = self
            .filter_policy
            .as_ref()
            .map_or_else(|| "{}".to_owned(), Value::to_string);
        let mut attributes = BTreeMap::from([("FilterPolicy", filter)]);
        if self.filter_policy.is_some() {
            attributes.insert("FilterPolicyScope", self.filter_scope.as_str().to_owned());
        }
        if matches!(
            self.protocol,
            Protocol::Sqs | Protocol::Https | Protocol::Firehose
        ) {
            attributes.insert("RawMessageDelivery", self.raw.to_string());
        }
        attributes.extend(self.role.clone().map(|role| ("SubscriptionRoleArn", role)));
        attributes
    }

    /// The desired attributes that differ from the present ones.
    pub fn differs(&self, present: &BTreeMap<String, String>) -> BTreeMap<&'static str, String> {
        let mut wanted = self.attributes();
        wanted.retain(|name, value| {
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
        let names: Vec<&str> = subscriber.differs(&present(&[])).into_keys().collect();
        assert_eq!(names, ["FilterPolicy", "RawMessageDelivery"]);
        let plain = Subscriber {
            filter_policy: None,
            raw: false,
            ..subscriber
        };
        assert!(plain.differs(&present(&[])).is_empty());
        assert_eq!(
            plain.differs(&same)["FilterPolicy"],
            "{}",
            "a filter that is not wanted any more goes"
        );
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
            assert_eq!(
                attributes.contains_key("RawMessageDelivery"),
                raw,
                "{protocol:?}"
            );
            assert!(!attributes.contains_key("FilterPolicyScope"));
            let person = protocol.as_str().starts_with("email");
            assert_eq!(subscriber.is_person(), person, "{protocol:?}");
        }
        let body =
            serde_json::json!({"filterPolicy": {"a": [1]}, "filterPolicyScope": "MessageBody"});
        let attributes = parse("sqs", body).unwrap().attributes();
        assert_eq!(attributes["FilterPolicyScope"], "MessageBody");
        for (protocol, scope) in [("SQS", "MessageBody"), ("sqs", "Body")] {
            let fields = serde_json::json!({"filterPolicyScope": scope});
            assert!(parse(protocol, fields).is_err(), "{protocol} {scope}");
        }
    }
}
