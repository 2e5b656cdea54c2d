//! What only a person can mend, as a sentence.

use crate::api::condition::Reason;

/// Something that only a person can mend: the object is `Stalled` with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The condition's reason.
    pub reason: Reason,
    /// What is wrong, what was expected, what to do.
    pub message: String,
}

impl Refusal {
    /// A refusal with this reason and message.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        Self {
            reason,
            message: message.into(),
        }
    }
}

/// A spec that makes no sense.
pub fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::InvalidSpec, message)
}

/// A value of an enumeration; one that a newer version knows is refused, not guessed at.
pub fn known(field: &str, value: String, values: &[&str]) -> Result<String, Refusal> {
    if values.contains(&&*value) {
        return Ok(value);
    }
    Err(invalid(format!(
        "{field}: this version of the operator does not know '{value}'; write one of {}",
        values.join(", ")
    )))
}

/// Something that settings or the class do not allow.
pub fn not_allowed(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::NotAllowed, message)
}
