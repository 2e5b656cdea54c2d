//! Target and report of a pass over a class.

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

/// The target of a pass over a class.
pub struct Target {
    /// When the pass began.
    pub now: Timestamp,
    /// The parsed class.
    pub class: Class,
    /// AWS in the class's account and region.
    pub cloud: Cloud,
}

/// Resources that a class shares besides its connections.
#[derive(Debug, Default)]
pub struct Shares {
    /// ARNs of the shared resources.
    pub resources: BTreeMap<String, String>,
    /// Recorded resources that are not desired any more.
    pub orphaned: BTreeMap<String, String>,
    /// When the shared destination bucket was created, by its tag.
    pub destination_created_at: Option<Timestamp>,
}

/// Superseded resources that still exist.
#[derive(Debug, Default)]
pub struct Retired {
    /// Superseded resources that still exist.
    pub former: Vec<FormerStatus>,
    /// Names of connections that were deleted or retained.
    pub gone: Vec<String>,
    /// What is still outstanding although nothing failed.
    pub pending: Option<(Reason, String)>,
    /// When to continue.
    pub wait: Option<Duration>,
}

/// Results of the phases of a pass, even of one that stopped early. Only the pass writes it, and
/// only the conclusion reads it.
pub struct Report {
    /// When the pass began.
    pub now: Timestamp,
    /// The resolved target.
    pub target: Option<Target>,
    /// Connections, if only they were observed.
    pub quick: Option<Connections>,
    /// Connections that were found, if everything was observed.
    pub connections: Option<Connections>,
    /// The other shared resources.
    pub shares: Option<Shares>,
    /// Use of the account's quotas.
    pub quotas: Option<BTreeMap<String, QuotaStatus>>,
    /// Superseded resources that still exist.
    pub retired: Option<Retired>,
    /// Whether everything was to be observed.
    pub full: bool,
    /// Whether the pass ran to its end.
    pub complete: bool,
}

impl Report {
    /// Creates the report of a pass that begins now.
    pub fn begin() -> Self {
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
