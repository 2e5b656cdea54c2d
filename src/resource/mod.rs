//! The resources in AWS: what is desired, what is found, what differs, what is planned. Pure.

pub mod delta;
pub mod desired;
pub mod iam;
mod make;
pub mod observed;
pub mod plan;
pub mod reader_policy;
pub mod retention;
