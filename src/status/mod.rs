//! Turns what a pass observed into conditions and events. Pure.

mod class;
mod connection;
mod fanout;
mod notice;
mod progress;
mod summary;
mod verdict;

pub use class::{ClassObservation, class_status};
pub use connection::connection_status;
pub use fanout::{
    AWAITS_CONNECTION, FeatureOutcome, Features, Observation, connection_made, status, suspended,
};
pub use progress::{Progress, held_up, not_observed, overdue, progress};
pub use summary::{PassOutcome, deleting};
