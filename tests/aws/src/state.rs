//! All that the stand-in knows, by account.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;
use tokio::sync::watch;

use crate::Config;
use crate::events::Routes;
use crate::fault::Faults;
use crate::front::{Call, Caller};
use crate::judge::Judge;
use crate::principals::Principals;
use crate::upstream::Upstream;

/// Behaviours of AWS that no source verifies: each can be had both ways, so that
/// the operator is not fitted to an imagined AWS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Claims {
    /// CreateConnection takes a name that another connection has (recalled; the documents call
    /// names unique).
    pub duplicate_connection_names: bool,
    /// The older API makes ARNs with the older prefix (inferred).
    pub older_connection_arns: bool,
    /// DeletePipeline of a missing pipeline succeeds (inferred).
    pub delete_missing_pipeline: bool,
    /// Failed actions carry an error code beside their words (recalled).
    pub failure_codes: bool,
    /// GetPipeline of a V2 pipeline that detects changes and has no triggers shows one that AWS
    /// adds (verified: terraform-provider-aws#38409 and its `trigger_all`); that it is a push filter
    /// on the branch is inferred.
    pub default_trigger: bool,
    /// An action without `runOrder` is told with `runOrder` 1, and GetPipeline adds `region`
    /// (verified for the first).
    pub added_region: bool,
    /// A page of a list may be empty although more pages follow, and is shorter than what was asked
    /// for (verified of AWS's lists as such, by the documentation of their tokens; of which lists
    /// in practice is not).
    pub empty_pages: bool,
    /// A repository that the provider's app may not read is told by the same words as a branch that
    /// does not exist (reported: aws/copilot-cli#5507 and others; the other words are inferred).
    pub withheld_as_missing_branch: bool,
}

impl Default for Claims {
    fn default() -> Self {
        Self {
            duplicate_connection_names: true,
            older_connection_arns: true,
            delete_missing_pipeline: true,
            failure_codes: true,
            default_trigger: true,
            added_region: false,
            empty_pages: false,
            withheld_as_missing_branch: true,
        }
    }
}

impl Claims {
    /// All of them the other way.
    pub fn turned() -> Self {
        let Self {
            duplicate_connection_names,
            older_connection_arns,
            delete_missing_pipeline,
            failure_codes,
            default_trigger,
            added_region,
            empty_pages,
            withheld_as_missing_branch,
        } = Self::default();
        Self {
            duplicate_connection_names: !duplicate_connection_names,
            older_connection_arns: !older_connection_arns,
            delete_missing_pipeline: !delete_missing_pipeline,
            failure_codes: !failure_codes,
            default_trigger: !default_trigger,
            added_region: !added_region,
            empty_pages: !empty_pages,
            withheld_as_missing_branch: !withheld_as_missing_branch,
        }
    }
}

/// Everything.
pub struct World {
    pub config: Config,
    pub judge: Judge,
    pub upstream: Upstream,
    pub faults: Faults,
    pub calls: Mutex<Vec<Call>>,
    /// Temporary access keys, and until when they hold.
    pub sessions: Mutex<HashMap<String, Instant>>,
    /// Who gets execution events, by account and region, until somebody changes a rule or a queue.
    pub routes: Mutex<HashMap<(String, String), Routes>>,
    /// Whom policies name.
    pub principals: Principals,
    accounts: Mutex<HashMap<String, Account>>,
}

/// One account.
pub struct Account {
    pub claims: Claims,
    pub connections: BTreeMap<String, Connection>,
    /// ARNs of other accounts' connections that are shared with this one.
    pub shared_connections: HashSet<String>,
    pub rules: BTreeMap<String, Rule>,
    pub pipelines: BTreeMap<(String, String), Pipeline>,
    pub withheld: HashSet<String>,
    pub held: watch::Sender<bool>,
    pub rule_refusals: u32,
    pub assume_refusals: u32,
    pub service_linked_role: bool,
    /// How long a session of a role of the account lasts.
    pub session: Duration,
    /// What the account's caller may do; everything if none.
    pub policies: Vec<Value>,
    /// What limits the caller beside its own policies: types of policies, in AWS's words, and their
    /// documents.
    pub limits: Vec<(String, Value)>,
    /// Regions that the account has not turned on.
    pub regions_off: HashSet<String>,
    /// How many calls a second operations take, by the beginning of their names; those that begin
    /// with none do not throttle.
    pub rates: Vec<(String, u32)>,
    /// Calls of an operation in the second that began then.
    pub windows: HashMap<String, (Instant, u32)>,
    /// How long what is made is not shown.
    pub shown_after: Duration,
    /// When something was first made, by service and name.
    pub made: HashMap<(String, String), Instant>,
    /// How long a call takes at least.
    pub latency: Duration,
    /// How long each stage of an execution takes, which then moves no files.
    pub imagined: Option<Duration>,
    /// The stage whose actions do not end (aws-cdk#10629 has it of a source).
    pub hung: watch::Sender<Option<String>>,
    /// How many source actions fail by the provider's own fault.
    pub hiccups: u32,
    /// From which size on objects of a bucket change their storage class, where somebody said so.
    pub minimum_sizes: BTreeMap<String, String>,
    /// Whether CreateBucket takes tags; some partitions do not.
    pub bucket_tags: bool,
    /// Execution events that a test holds back.
    pub held_events: Option<Vec<Value>>,
    pub violations: Vec<String>,
}

/// A connection.
pub struct Connection {
    pub name: String,
    pub provider: String,
    pub host: Option<String>,
    pub status: String,
    pub tags: BTreeMap<String, String>,
}

/// A notification rule.
pub struct Rule {
    pub name: String,
    pub resource: String,
    pub events: Vec<String>,
    pub detail: String,
    pub status: String,
    pub targets: Vec<(String, String, String)>,
    pub tags: BTreeMap<String, String>,
    pub token: Option<String>,
    pub created: f64,
    pub modified: f64,
}

/// A pipeline.
pub struct Pipeline {
    /// All its structures, oldest first.
    pub versions: Vec<Value>,
    pub created: f64,
    pub updated: f64,
    pub tags: BTreeMap<String, String>,
    /// Oldest first.
    pub executions: Vec<Execution>,
    pub tokens: HashMap<String, String>,
}

/// An execution.
pub struct Execution {
    pub id: String,
    pub version: usize,
    pub status: String,
    pub summary: Option<String>,
    pub trigger: String,
    /// What triggered it, where that is not the branch itself.
    pub reference: Option<String>,
    pub started: f64,
    pub updated: f64,
    pub revision: Option<(String, String)>,
    /// Whether an engine works on it; else it waits.
    pub active: bool,
    /// How it ends once its action in progress has: the status and its words.
    pub ending: Option<(String, String)>,
    pub actions: Vec<ActionRun>,
}

impl Execution {
    /// Whether it has not ended.
    pub fn is_running(&self) -> bool {
        self.status == "InProgress" || self.status == "Stopping"
    }

    /// Whether one of its actions is in progress.
    pub fn acts(&self) -> bool {
        let last = self.actions.last();
        self.active && last.is_some_and(|action| action.status == "InProgress")
    }

    /// Ends it with this status: at once, or once its action in progress has ended.
    pub fn end_as(&mut self, status: &str, words: &str) {
        if !self.is_running() {
            return;
        }
        if self.acts() {
            self.ending = Some((status.to_owned(), words.to_owned()));
        } else {
            self.end(status, words);
        }
    }

    /// Ends it with this status now.
    pub fn end(&mut self, status: &str, words: &str) {
        self.status = status.to_owned();
        self.summary = Some(words.to_owned());
        self.updated = now();
        self.active = false;
    }
}

/// An action of an execution.
pub struct ActionRun {
    pub stage: String,
    pub status: String,
    pub error: Option<(String, String)>,
    pub started: f64,
    pub updated: f64,
}

impl Default for Account {
    fn default() -> Self {
        Self {
            claims: Claims::default(),
            connections: BTreeMap::new(),
            shared_connections: HashSet::new(),
            rules: BTreeMap::new(),
            pipelines: BTreeMap::new(),
            withheld: HashSet::new(),
            held: watch::channel(false).0,
            rule_refusals: 0,
            assume_refusals: 0,
            service_linked_role: false,
            session: Duration::from_secs(3600),
            policies: Vec::new(),
            limits: Vec::new(),
            regions_off: HashSet::new(),
            rates: Vec::new(),
            windows: HashMap::new(),
            shown_after: Duration::ZERO,
            made: HashMap::new(),
            latency: Duration::ZERO,
            imagined: None,
            hung: watch::channel(None).0,
            hiccups: 0,
            minimum_sizes: BTreeMap::new(),
            bucket_tags: true,
            held_events: None,
            violations: Vec::new(),
        }
    }
}

impl Account {
    /// Takes note that something is there from now on, unless it was before.
    pub fn note(&mut self, service: &str, name: &str) {
        let key = (service.to_owned(), name.to_owned());
        self.made.entry(key).or_insert_with(Instant::now);
    }

    /// Names of what a service does not show yet.
    pub fn hidden(&self, service: &str) -> HashSet<String> {
        let young = self
            .made
            .iter()
            .filter(|((of, _), at)| of == service && at.elapsed() < self.shown_after);
        young.map(|((_, name), _)| name.clone()).collect()
    }

    /// Whether the operation has had its calls of this second.
    pub fn throttles(&mut self, operation: &str) -> bool {
        let of = self
            .rates
            .iter()
            .filter(|(name, _)| operation.starts_with(name));
        let Some((_, rate)) = of.max_by_key(|(name, _)| name.len()).cloned() else {
            return false;
        };
        let (began, calls) = self
            .windows
            .entry(operation.to_owned())
            .or_insert((Instant::now(), 0));
        if began.elapsed() >= Duration::from_secs(1) {
            (*began, *calls) = (Instant::now(), 0);
        }
        *calls += 1;
        *calls > rate
    }
}

impl World {
    pub fn new(config: Config, judge: Judge) -> Self {
        Self {
            upstream: Upstream::new(&config.upstream),
            config,
            judge,
            faults: Faults::default(),
            calls: Mutex::default(),
            sessions: Mutex::default(),
            routes: Mutex::default(),
            principals: Principals::default(),
            accounts: Mutex::default(),
        }
    }

    pub fn with_account<T>(&self, account: &str, f: impl FnOnce(&mut Account) -> T) -> T {
        f(self
            .accounts
            .lock()
            .expect("no panic while held")
            .entry(account.to_owned())
            .or_default())
    }

    /// A number that no session had before.
    pub fn next_session(&self) -> usize {
        self.sessions.lock().expect("no panic while held").len()
    }

    /// Somebody may have changed who gets execution events.
    pub fn forget_routes(&self, caller: &Caller) {
        self.routes
            .lock()
            .expect("no panic while held")
            .remove(&(caller.account.clone(), caller.region.clone()));
    }

    pub fn account_ids(&self) -> Vec<String> {
        self.accounts
            .lock()
            .expect("no panic while held")
            .keys()
            .cloned()
            .collect()
    }

    pub fn set_connection(&self, arn: &str, status: &str) -> Result<(), String> {
        let account = arn.split(':').nth(4).unwrap_or_default();
        self.with_account(account, |a| match a.connections.get_mut(arn) {
            Some(connection) => {
                connection.status = status.to_owned();
                Ok(())
            }
            None => Err(format!("there is no connection {arn}")),
        })
    }
}

/// Seconds since 1970, to the millisecond, as AWS's JSON has it.
pub fn now() -> f64 {
    let millis = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_millis());
    millis as f64 / 1000.0
}
