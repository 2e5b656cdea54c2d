//! The passes over a fan-out and over a class, and what both share.

pub mod apply;
pub mod class;
pub mod conclude;
pub mod converge;
pub mod fanout;
pub mod observe;
pub mod preview;
pub mod record;
pub mod schedule;
pub mod teardown;
