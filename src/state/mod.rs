//! What a process remembers between passes; lost, it only looks again.

pub mod catalog;
pub mod claims;
pub mod environment;
pub mod event_feed;
pub mod live_object;
pub mod memory;
