//! Kubernetes operator: every push to a repository lands in S3 and is announced on SNS.
//!
//! Pure core, thin shell: one pass over an object is `observe → plan → apply →
//! status`; only `observe` and `apply` talk to AWS.

pub mod api;
pub mod aws;
pub mod cli;
pub mod cloud;
pub mod commands;
pub mod domain;
pub mod feature;
pub mod metrics;
pub mod reconcile;
pub mod resource;
pub mod runtime;
pub mod server;
pub mod spec;
pub mod state;
pub mod status;
pub mod telemetry;
