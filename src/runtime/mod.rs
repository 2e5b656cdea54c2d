//! Watches, queue, leader election, health.

pub mod fair_queue;
pub mod health;
pub mod run;
pub mod schema;
