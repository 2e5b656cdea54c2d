//! Refusals: problems that only a person can fix, each as a reason and a sentence.

use crate::api::condition::Reason;
use crate::domain::word::Word;

/// A problem that only a person can fix: the object is `Stalled` with this reason.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Refusal {
    /// The condition's reason.
    pub reason: Reason,
    /// The message: what is wrong, what was expected, and what to do.
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

/// The refusal of an invalid spec.
pub fn invalid(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::InvalidSpec, message)
}

/// The value with this word. A word that only a newer version knows is refused, not guessed at.
pub fn known<T: Word>(field: &str, word: &str) -> Result<T, Refusal> {
    T::parse(word).ok_or_else(|| {
        let words: Vec<&str> = T::ALL.iter().map(|value| value.as_str()).collect();
        invalid(format!(
            "{field}: this version of the operator does not know '{word}'; write one of {}",
            words.join(", ")
        ))
    })
}

/// The value with this word, or the default if the spec has none.
pub fn known_or<T: Word>(field: &str, word: Option<&str>, default: T) -> Result<T, Refusal> {
    word.map_or(Ok(default), |word| known(field, word))
}

/// The refusal of something that the settings or the class do not allow.
pub fn not_allowed(message: impl Into<String>) -> Refusal {
    Refusal::new(Reason::NotAllowed, message)
}
