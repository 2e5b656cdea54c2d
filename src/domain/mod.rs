//! The basic types of the product: names, owners, placements, policy documents, executions. Pure.

pub mod arn;
pub mod computed;
pub mod delivery;
pub mod denial;
pub mod execution;
pub mod kind;
pub mod names;
pub mod object;
pub mod owner;
pub mod pattern;
pub mod placement;
pub mod policy_document;
pub mod prefix;
pub mod refusal;
pub mod settings;
pub mod word;
