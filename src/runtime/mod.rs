//! Watches, the fair queue, leader election, health. The only room that runs controllers.

pub mod entry;
pub mod fair_queue;
pub mod gate;
pub mod health;
pub mod operator;
pub mod run;
pub mod schema;
