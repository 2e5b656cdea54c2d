//! The operator's own binary against a real API server and AWS endpoints over HTTP.
//! One control plane and one set of endpoints for all tests; each test has a
//! namespace, an AWS account and an operator of its own.

mod announce;
mod architecture;
mod bad_input;
mod before;
mod case;
mod changes;
mod chart;
mod classes;
mod deletion;
mod failures;
mod faults;
mod generated;
mod gitops;
mod health;
mod import;
mod outages;
mod ownership;
mod permissions;
mod process;
mod prune;
mod quiet;
mod rbac;
mod readers;
mod safety;
mod scale;
mod sharing;
mod sources;
mod story;
mod subscribers;
mod tenancy;
mod upgrade;
mod walk;
