//! Parses and validates the specs of objects and classes. Strings become types here, and nowhere
//! later. Pure.

pub mod class;
#[cfg(test)]
mod example;
pub mod fanout;
pub mod interval;
pub mod notifications;
pub mod pipeline;
pub mod policy;
pub mod prune;
pub mod reader;
pub mod source;
pub mod subscriber;
pub mod tags;
pub mod trigger;
