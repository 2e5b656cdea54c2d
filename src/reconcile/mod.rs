//! The passes over a fan-out and over a class.

pub mod apply;
pub mod class;
pub mod class_ledger;
pub mod class_teardown;
pub mod conclude;
pub mod converge;
pub mod deletion;
pub mod deliver;
pub mod fanout;
pub mod observe;
pub mod preview;
pub mod preview_class;
pub mod preview_fanout;
pub mod quick;
pub mod record;
pub mod resolve;
pub mod retire;
pub mod teardown;
