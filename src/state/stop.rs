//! Why a reconcile stopped early.

use std::time::Duration;

use crate::api::condition::Reason;
use crate::cloud::Error;
use crate::domain::refusal::Refusal;
use crate::resource::plan;

/// Why a reconcile stopped early.
#[derive(Debug)]
pub enum Stop {
    /// The API server did not take a write.
    Kube(kube::Error),
    /// The cloud answered with an error.
    Cloud(Error),
    /// Something passes by itself: its reason, its message, and when to look again.
    Wait(Reason, String, Duration),
    /// Something that only a person can mend.
    Refused(Vec<Refusal>),
}

impl Stop {
    /// A read-only operator says what it would do, in place of doing it.
    pub fn read_only(would: &str) -> Self {
        plan::not_written(would).into()
    }

    /// What keeps the object from being reconciled, as its conditions would say it.
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

/// A phase that stopped early, and what it had found by then.
#[derive(Debug)]
pub struct Partial<T> {
    /// What is known all the same.
    pub found: T,
    /// Why it stopped.
    pub stop: Stop,
}

/// Keeps what a phase found, also where it stopped early.
///
/// # Errors
/// Why it stopped early.
pub fn keep<T>(slot: &mut Option<T>, result: Result<T, Partial<T>>) -> Result<&mut T, Stop> {
    match result {
        Ok(found) => Ok(slot.insert(found)),
        Err(Partial { found, stop }) => {
            *slot = Some(found);
            Err(stop)
        }
    }
}
