//! Optional features beside the copy: one file or folder each.
//!
//! A feature observes and acts by itself. Its outcome becomes a condition of its own, and `Ready`
//! does not depend on it.

pub mod announce;
pub mod prune;
pub mod subscribe;

use serde_json::Value;

use crate::api::condition::Reason;
use crate::cloud::Error;
use crate::cloud::advice::{Situation, advice};
use crate::resource::scope::Scope;

/// The outcome of a feature in one pass.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// Whether the spec asks for the feature.
    pub asked: bool,
    /// The new verdict of its condition. The condition stays as it was if there is none.
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
    /// The outcome of a feature that the spec asks for and that was not observed.
    pub fn asked() -> Self {
        Self {
            asked: true,
            verdict: None,
        }
    }

    /// The outcome of a feature that the spec asks for, with this verdict.
    pub fn of(reason: Reason, message: String) -> Self {
        Self {
            asked: true,
            verdict: Some(Verdict { reason, message }),
        }
    }
}

/// The message of a feature that AWS refused: what follows from it, what can be done about it, and
/// what is not affected.
fn failed(error: &Error, situation: &Situation<'_>, effect: &str, unaffected: &str) -> String {
    let advice = advice(error, situation).map(|advice| format!("; {}", advice.text));
    format!(
        "{}, so {effect}{}; the operator retries, and {unaffected} not affected",
        error.refused(situation.audience),
        advice.unwrap_or_default()
    )
}

/// IAM statements of the operator for all features.
pub fn statements(scope: &Scope) -> Vec<Value> {
    [
        prune::statements(scope),
        announce::statements(scope),
        subscribe::statements(scope),
    ]
    .concat()
}
