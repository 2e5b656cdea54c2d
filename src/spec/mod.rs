//! What the objects ask for: strings become meaning here, and nowhere later. Pure.

pub mod class;
pub mod fanout;
pub mod policy;
pub mod subscriber;
pub mod trigger;
