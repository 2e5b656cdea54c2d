//! Kubernetes operator: every push to a repository lands in S3 and is announced on SNS.
//!
//! # The map
//!
//! Each room uses only the rooms below it; a test refuses any other arrow, and circles of files.
//!
//! | room | what it knows |
//! | --- | --- |
//! | [`commands`] | `run`, `check`, `plan`, `import`, and what the program prints about itself |
//! | [`server`] | `/metrics`, `/livez`, `/readyz` |
//! | [`runtime`] | watches, the fair queue, leader election, the gate of passes, health |
//! | [`reconcile`] | the passes: [`reconcile::fanout`] and [`reconcile::class`] |
//! | [`status`] | what a pass found becomes conditions and events; pure |
//! | [`feature`] | prune, announce, subscribe: what an object may ask for beside the copy |
//! | [`state`] | what a process remembers, the live object, and the target of a pass |
//! | [`cloud`] | what is asked of a cloud: small traits and one error type; [`aws`] implements it |
//! | [`resource`] | each resource in AWS: desired, found, what differs, the plan; pure |
//! | [`spec`] | what the objects ask for: strings become meaning here, and nowhere later; pure |
//! | [`domain`] | names, owners, places, policy documents, executions, the delivery verdict; pure |
//! | [`api`] | the custom resources as Kubernetes sees them, conditions and reasons |
//!
//! # One object, from the watch to its status
//!
//! [`runtime::entry`] takes an object from its controller's queue, waits for a permit of the
//! [`runtime::fair_queue`], and runs one pass. [`reconcile::fanout`] is that pass, as a table of
//! contents: resolve, observe, converge, subscribe, deliver, prune, announce, retire, conclude. Each
//! phase takes values and returns a value; the report keeps what was found, also where a phase
//! stopped early, and only `conclude` reads it: it computes the status, writes it, and says when
//! the object is due again. [`reconcile::class`] is the same for a class.
//!
//! # The words
//!
//! - **observe**: read AWS. A *quick* observation reads lists, the connection and the executions; a
//!   *full* one reads everything.
//! - **desired**, **found**: a resource as it is to be, and as AWS has it.
//! - **plan**, **step**, **apply**: the difference as ordered steps, one of them, and writing it.
//! - **converge**: plan and apply until the plan is empty.
//! - **target**: what one pass is about: the parsed object, its place, and AWS there.
//! - **placement**: account, region and names, decided once.
//! - **intent**: recorded before a connection is created, so that a lost answer makes no second one.
//! - **deliver**: an execution copies the repository to the bucket. A *verdict* says whether one
//!   has to be started, and a *cause* says why.
//! - **orphaned**, **former**: a resource that the object does not use any more.
//! - **retire**, **teardown**: what is orphaned ends, and what an object has ends with it.
//! - **retention**: what is kept when its object goes.
//! - **acknowledge**: an execution event is taken off its queue once a pass has looked into it.
//! - **settled**: as desired at the last full observation; quick ones go by it.
//!
//! # Where to look
//!
//! | question | file |
//! | --- | --- |
//! | Where is pruning's limit checked? | `feature/prune/mod.rs`, by `Limit` of `spec/prune.rs` |
//! | Where does the role's policy come from, and where is it written? | `resource/role.rs`; `reconcile/apply.rs` writes it through `aws/role.rs` |
//! | What sets `Ready`? | `status/summary.rs`, over the verdicts of `status/fanout.rs` |
//! | Why is an execution started? | `domain/delivery.rs`, asked by `reconcile/fanout/deliver.rs` |
//! | Who may use a class, name a repository, choose a name? | `spec/policy.rs` |
//! | Which AWS error means what? | `aws/error.rs`, and `status/progress.rs` for the object |
//! | What does a message advise, and who denied a call? | `cloud/advice.rs`, by the table of `cloud/cause.rs` |
//! | How often does the operator start executions by itself? | `domain/delivery.rs`, `count_start` |
//! | What is done while AWS does not show what was just made? | `resource/plan.rs`, `is_unseen` |
//! | What does a message advise? | `cloud/advice.rs`, a table by code, words and place |
//! | What is kept when an object goes? | `resource/retention.rs`, asked by `reconcile/teardown.rs` |
//!
//! # Add a resource
//!
//! 1. `domain/kind.rs`: one variant with its word. From here on the compiler names what is missing.
//! 2. `resource/`: one file with its desired type, its found type, how they differ, its plan and its
//!    IAM statements; a field in `Desired` and `Observed` of `resource/mod.rs`, a step in
//!    `resource/plan.rs`.
//! 3. `cloud/mod.rs`: one small trait; `aws/`: one file that implements it.
//! 4. `reconcile/observe.rs`, `apply.rs`, `teardown.rs`: observe it, apply its step, end it.
//!
//! # Add a feature
//!
//! 1. `api/`: its fields and its condition; `spec/`: its parsed option.
//! 2. `feature/`: one file that observes, acts, and returns an [`feature::Outcome`]; its IAM
//!    statements in `feature::statements`.
//! 3. `api/condition.rs`: its reasons, each with its outlook and severity.
//! 4. `reconcile/fanout.rs`: one line in the pass; `reconcile/fanout/report.rs`: one field; and its
//!    place in the observation that `reconcile/fanout/conclude.rs` hands to [`status`].

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
