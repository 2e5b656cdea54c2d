//! What an object says of itself: the conditions of its status.

use k8s_openapi::apimachinery::pkg::apis::meta::v1;
use repofanout::api::class::RepoFanoutClassStatus;
use repofanout::api::status::RepoFanoutStatus;

/// One condition of an object's status.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub type_: String,
    /// `True`, `False` or `Unknown`.
    pub status: String,
    pub reason: String,
    pub message: String,
    pub observed_generation: Option<i64>,
}

impl Condition {
    /// Whether it has this status, for this reason.
    pub fn is(&self, status: &str, reason: &str) -> bool {
        self.status == status && self.reason == reason
    }

    pub fn is_true(&self) -> bool {
        self.status == "True"
    }

    /// Whether its message contains this text.
    pub fn says(&self, text: &str) -> bool {
        self.message.contains(text)
    }
}

/// A status that has conditions: of a `RepoFanout`, or of a `RepoFanoutClass`.
pub trait Conditions {
    fn conditions(&self) -> &[v1::Condition];
    /// The generation of the object that the status describes.
    fn observed_generation(&self) -> Option<i64>;
}

impl Conditions for RepoFanoutStatus {
    fn conditions(&self) -> &[v1::Condition] {
        &self.conditions
    }

    fn observed_generation(&self) -> Option<i64> {
        self.observed_generation
    }
}

impl Conditions for RepoFanoutClassStatus {
    fn conditions(&self) -> &[v1::Condition] {
        &self.conditions
    }

    fn observed_generation(&self) -> Option<i64> {
        self.observed_generation
    }
}

/// The condition of this type, if the status has it.
pub fn condition(status: &impl Conditions, type_: &str) -> Option<Condition> {
    let found = status.conditions().iter().find(|c| c.type_ == type_)?;
    Some(Condition {
        type_: found.type_.clone(),
        status: found.status.clone(),
        reason: found.reason.clone(),
        message: found.message.clone(),
        observed_generation: found.observed_generation,
    })
}

/// Whether the condition of this type is `True`.
pub fn is_true(status: &impl Conditions, type_: &str) -> bool {
    condition(status, type_).is_some_and(|condition| condition.is_true())
}

/// Whether the condition of this type has this reason.
pub fn has_reason(status: &impl Conditions, type_: &str, reason: &str) -> bool {
    condition(status, type_).is_some_and(|condition| condition.reason == reason)
}

/// The condition of this type has this status, for this reason.
pub fn assert_condition(found: &impl Conditions, type_: &str, status: &str, reason: &str) {
    let condition = condition(found, type_).unwrap_or_else(|| panic!("no condition {type_}"));
    assert!(
        condition.is(status, reason),
        "not {status}/{reason}: {condition:?}"
    );
}

/// The condition of this type says this in its message.
pub fn assert_message(found: &impl Conditions, type_: &str, text: &str) {
    let condition = condition(found, type_).unwrap_or_else(|| panic!("no condition {type_}"));
    assert!(
        condition.says(text),
        "it does not say '{text}': {condition:?}"
    );
}
