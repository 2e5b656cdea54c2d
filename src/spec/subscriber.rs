//! Subscribers to a fan-out's own topic.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::api::notifications::SubscriberSpec;

/// It gets what is published.
pub const CONFIRMED: &str = "CONFIRMED";
/// Its owner has to agree.
pub const PENDING: &str = "PENDING";
/// Its owner has not agreed in time, or does no more.
pub const EXPIRED: &str = "EXPIRED";

/// One that the object names.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscriber {
    /// SNS's word: `sqs`, `lambda`, `https`, `email`, `email-json` or `firehose`.
    pub protocol: String,
    /// ARN, URL or address.
    pub endpoint: String,
    /// What it wants of the messages; everything if none.
    pub filter_policy: Option<Value>,
    /// Whether the filter looks at the `MessageAttributes` or the `MessageBody`.
    pub filter_scope: String,
    /// Whether it gets the message without SNS's envelope.
    pub raw: bool,
    /// ARN of the role by which SNS reaches it, where it takes one.
    pub role: Option<String>,
}

impl From<SubscriberSpec> for Subscriber {
    fn from(spec: SubscriberSpec) -> Self {
        Self {
            protocol: spec.protocol,
            endpoint: spec.endpoint,
            filter_policy: spec.filter_policy,
            filter_scope: spec
                .filter_policy_scope
                .unwrap_or_else(|| "MessageAttributes".into()),
            raw: spec.raw_message_delivery.unwrap_or(false),
            role: spec.subscription_role_arn,
        }
    }
}

impl Subscriber {
    /// Whether a person reads it, who may unsubscribe.
    pub fn is_person(&self) -> bool {
        self.protocol.starts_with("email")
    }

    /// Its attributes, as SNS has them.
    /// <https://docs.aws.amazon.com/sns/latest/api/API_SetSubscriptionAttributes.html>
    pub fn attributes(&self) -> BTreeMap<&'static str, String> {
        let filter = self
            .filter_policy
            .as_ref()
            .map_or_else(|| "{}".to_owned(), Value::to_string);
        let mut attributes = BTreeMap::from([("FilterPolicy", filter)]);
        if self.filter_policy.is_some() {
            attributes.insert("FilterPolicyScope", self.filter_scope.clone());
        }
        if matches!(&*self.protocol, "sqs" | "https" | "firehose") {
            attributes.insert("RawMessageDelivery", self.raw.to_string());
        }
        attributes.extend(self.role.clone().map(|role| ("SubscriptionRoleArn", role)));
        attributes
    }

    /// Those attributes that are not as they are to be.
    pub fn differs(&self, present: &BTreeMap<String, String>) -> BTreeMap<&'static str, String> {
        let mut wanted = self.attributes();
        wanted.retain(|name, value| {
            let default = match *name {
                "FilterPolicy" => "{}",
                "FilterPolicyScope" => "MessageAttributes",
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
            protocol: "sqs".into(),
            endpoint: "arn:aws:sqs:eu-west-1:111122223333:q".into(),
            filter_policy: Some(serde_json::json!({"branch": ["main"]})),
            filter_scope: "MessageAttributes".into(),
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
}
