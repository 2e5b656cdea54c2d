//! What the phases of a pass over a class take and give.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use crate::api::class::QuotaStatus;
use crate::api::condition::Reason;
use crate::api::status::{ConnectionStatus, FormerStatus};
use crate::cloud::Cloud;
use crate::spec::class::Class;

/// Connections of a class, by name.
pub type Connections = BTreeMap<String, ConnectionStatus>;

/// What a pass over a class is about.
pub struct Target {
    /// When the pass began.
    pub now: Timestamp,
    /// What the class says.
    pub class: Class,
    /// AWS in its account and region.
    pub cloud: Cloud,
}

/// What a class shares beside its connections.
#[derive(Debug, Default)]
pub struct Shares {
    /// ARNs of what it shares.
    pub resources: BTreeMap<String, String>,
    /// What was recorded and is not wanted any more.
    pub orphaned: BTreeMap<String, String>,
    /// When the shared destination bucket was made, by its tag.
    pub destination_created_at: Option<Timestamp>,
}

/// What is left of what is not shared any more.
#[derive(Debug, Default)]
pub struct Retired {
    /// What is still there.
    pub former: Vec<FormerStatus>,
    /// Names of connections that are gone.
    pub gone: Vec<String>,
    /// What has still to happen although nothing failed.
    pub pending: Option<(Reason, String)>,
    /// When to go on.
    pub wait: Option<Duration>,
}

/// What the phases of a pass found, also of a pass that stopped early. Only the pass writes it, and
/// only its conclusion reads it.
pub struct Report {
    /// When the pass began.
    pub now: Timestamp,
    /// What the class says, and where that is.
    pub target: Option<Target>,
    /// Its connections, where nothing else was observed.
    pub quick: Option<Connections>,
    /// Its connections that were found, where everything was observed.
    pub connections: Option<Connections>,
    /// What it shares beside them.
    pub shares: Option<Shares>,
    /// How much of the account's quotas is used.
    pub quotas: Option<BTreeMap<String, QuotaStatus>>,
    /// What is left of what is not shared any more.
    pub retired: Option<Retired>,
    /// Whether everything was to be observed.
    pub full: bool,
    /// Whether the pass came to its end.
    pub complete: bool,
}

impl Report {
    /// That of a pass that begins now.
    pub fn new() -> Self {
        Self {
            now: Timestamp::now(),
            target: None,
            quick: None,
            connections: None,
            shares: None,
            quotas: None,
            retired: None,
            full: false,
            complete: false,
        }
    }
}
