//! The operator's own binary against a real API server and AWS endpoints over HTTP. All tests share
//! one control plane and one set of endpoints; each test has a namespace, an AWS account and an
//! operator of its own.
//!
//! `case` is what a test works with: `fixture` (what it starts from), `operator` (how the operator is
//! started), `client` (what it asks of the API server), `aws` (what it asks of AWS), `wait` (what it
//! waits for) and `condition` (what it asserts of a status). `faults` runs stories again and again, each
//! time with a fault at another call. Every other file holds the tests of one subject.

mod advice;
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
mod late;
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
