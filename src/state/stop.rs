//! Why a reconcile stopped early.

use std::time::Duration;

use crate::api::condition::Reason;
use crate::cloud::Error;
use crate::domain::refusal::Refusal;
use crate::resource::plan;

/// Why a reconcile stopped early.
#[derive(Debug)]
pub enum Stop {
    /// The API server rejected a write.
    Kube(kube::Error),
    /// The cloud returned an error.
    Cloud(Error),
    /// A temporary obstacle: its reason, its message, and when to try again.
    Wait(Reason, String, Duration),
    /// Obstacles that only a person can remove.
    Refused(Vec<Refusal>),
}

impl Stop {
    /// Stops a read-only operator before a write, and says which write that was.
    pub fn read_only(would: &str) -> Self {
        plan::not_written(would).into()
    }

    /// Describes the obstacle as the object's conditions would.
    pub fn describe(&self) -> String {
        match self {
            Self::Kube(error) => error.to_string(),
            Self::Cloud(error) => error.to_string(),
            Self::Wait(reason, message, _) => format!("{}: {message}", reason.as_str()),
            Self::Refused(refusals) => {
                let one = |r: &Refusal| format!("{}: {}", r.reason.as_str(), r.message);
                refusals.iter().map(one).collect::<Vec<_>>().join("; ")
            }
        }
    }
}

impl From<kube::Error> for Stop {
    fn from(error: kube::Error) -> Self {
        Self::Kube(error)
    }
}

impl From<Error> for Stop {
    fn from(error: Error) -> Self {
        Self::Cloud(error)
    }
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(vec![refusal])
    }
}

/// Error of a phase that stopped early, with its results up to then.
#[derive(Debug)]
pub struct Partial<T> {
    /// Results that are valid all the same.
    pub found: T,
    /// Why the phase stopped.
    pub stop: Stop,
}

/// Stores the results of a phase, even if it stopped early.
///
/// # Errors
/// Returns why the phase stopped early.
pub fn keep<T>(slot: &mut Option<T>, result: Result<T, Partial<T>>) -> Result<&mut T, Stop> {
    match result {
        Ok(found) => Ok(slot.insert(found)),
        Err(Partial { found, stop }) => {
            *slot = Some(found);
            Err(stop)
        }
    }
}
