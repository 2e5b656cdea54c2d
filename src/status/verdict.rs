//! The verdict of a pass on one condition.

use k8s_controller::conditions::{self, DesiredCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::condition::{ConditionType, Outlook, Reason};

/// The longest message of a condition; the API server allows 32,768 characters.
const LONGEST_MESSAGE: usize = 1024;

/// The reason and message of one condition; its status follows from the reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The condition.
    pub type_: ConditionType,
    /// Why it has its status.
    pub reason: Reason,
    /// The reason in full, for people.
    pub message: String,
}

impl Verdict {
    /// A verdict on the condition.
    pub fn new(type_: ConditionType, reason: Reason, message: impl Into<String>) -> Self {
        Self {
            type_,
            reason,
            message: message.into(),
        }
    }

    /// The verdict that a condition already states. A reason that only a newer version knows counts as
    /// `Provisioning`.
    pub fn of(condition: &Condition, type_: ConditionType) -> Self {
        let reason = Reason::parse(&condition.reason).unwrap_or(Reason::Provisioning);
        Self::new(type_, reason, condition.message.clone())
    }

    /// Whether the condition is as it should be.
    pub fn is_well(&self) -> bool {
        self.reason.outlook() == Outlook::Well
    }

    /// The same reason and message for another condition.
    pub fn on(&self, type_: ConditionType) -> Self {
        Self::new(type_, self.reason, self.message.clone())
    }

    /// Writes the verdict into the conditions.
    pub fn set(&self, conditions: &mut Vec<Condition>, generation: Option<i64>) {
        let desired = DesiredCondition::new(
            self.type_.as_str(),
            self.type_.status(self.reason),
            self.reason.as_str(),
            cap(&self.message),
        );
        let _ = conditions::set(conditions, desired.observed_generation(generation));
    }
}

/// The text, cut to the longest message that is allowed.
pub fn cap(text: &str) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE - 1) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_capped_by_characters() {
        assert_eq!(cap(&"ü".repeat(3000)).chars().count(), LONGEST_MESSAGE);
        assert_eq!(cap("short"), "short");
        let exact = "x".repeat(LONGEST_MESSAGE - 1);
        assert_eq!(cap(&exact), exact);
    }
}
