//! Kubernetes operator: every push to a repository lands in S3 and is announced on SNS.

pub mod api;
pub mod aws;
pub mod cloud;
pub mod model;
pub mod plan;
