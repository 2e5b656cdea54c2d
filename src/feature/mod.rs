//! What an object may ask for beside the copy: one folder or file a feature.
//!
//! A feature observes and acts by itself; what it returns becomes a condition of its own, and
//! `Ready` does not depend on it.

pub mod announce;
pub mod prune;
pub mod subscribe;

use crate::api::condition::Reason;

/// What came of a feature in a pass.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether the spec asks for the feature.
    pub asked: bool,
    /// What its condition is to say; it stays as it was where nothing was observed.
    pub verdict: Option<Verdict>,
}

/// A reason and its message.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// The condition's reason.
    pub reason: Reason,
    /// The condition's message.
    pub message: String,
}

impl Outcome {
    /// The spec asks for it, and nothing is known of it yet.
    pub fn asked() -> Self {
        Self {
            asked: true,
            verdict: None,
        }
    }

    /// The spec asks for it, and this came of it.
    pub fn of(reason: Reason, message: String) -> Self {
        Self {
            asked: true,
            verdict: Some(Verdict { reason, message }),
        }
    }
}
