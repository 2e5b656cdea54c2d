//! Watches, the fair queue, leader election and health. Only this module runs controllers.

pub mod entry;
pub mod fair_queue;
pub mod gate;
pub mod health;
pub mod operator;
pub mod run;
pub mod schema;
