//! State that a process keeps between passes. Nothing here decides anything: if it is lost,
//! everything is observed again.

pub mod catalog;
pub mod claims;
pub mod environment;
pub mod event_dispatch;
pub mod event_feed;
pub mod fleet;
pub mod live_object;
pub mod memory;
pub mod recorder;
pub mod stop;
pub mod target;
