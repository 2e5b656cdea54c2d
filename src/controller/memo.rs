//! What a process remembers of an object between passes; lost, it only looks again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Longest delay after repeated failures.
const LONGEST: Duration = Duration::from_secs(300);

/// Memories by the objects' uid.
#[derive(Default)]
pub struct Memos(Mutex<HashMap<String, Memo>>);

/// What is remembered.
#[derive(Default)]
struct Memo {
    resource_version: Option<String>,
    due: Option<Instant>,
    full_look: Option<Instant>,
    backoff: Option<ExponentialBackoff>,
}

impl Memos {
    fn with<T>(&self, uid: &str, f: impl FnOnce(&mut Memo) -> T) -> T {
        f(self.0.lock().expect("no panic while held").entry(uid.to_owned()).or_default())
    }

    /// How long until the next look, if nothing happened since the last pass but
    /// that pass's own writes.
    pub fn quiet_for(&self, uid: &str, resource_version: Option<&str>) -> Option<Duration> {
        self.with(uid, |memo| {
            let same = memo.resource_version.is_some() && memo.resource_version.as_deref() == resource_version;
            memo.due.filter(|_| same)?.checked_duration_since(Instant::now())
        })
    }

    /// How long ago everything was looked at and found settled.
    pub fn since_full_look(&self, uid: &str) -> Option<Duration> {
        self.with(uid, |memo| memo.full_look.map(|at| at.elapsed()))
    }

    /// Remembers the end of a pass: the object as it left it, and when to look again.
    pub fn passed(&self, uid: &str, resource_version: Option<String>, next: Duration) {
        self.with(uid, |memo| {
            memo.resource_version = resource_version;
            memo.due = Some(Instant::now() + next);
        });
    }

    /// Remembers that everything was looked at and is settled, or that it has to be looked at again.
    pub fn looked(&self, uid: &str, settled: bool) {
        self.with(uid, |memo| {
            memo.full_look = settled.then(Instant::now);
            if settled {
                memo.backoff = None;
            }
        });
    }

    /// The next delay of a row of failures: exponential, with jitter.
    pub fn backoff(&self, uid: &str) -> Duration {
        self.with(uid, |memo| {
            let backoff = memo.backoff.get_or_insert_with(|| {
                ExponentialBuilder::default()
                    .with_min_delay(Duration::from_secs(1))
                    .with_max_delay(LONGEST)
                    .without_max_times()
                    .with_jitter()
                    .build()
            });
            backoff.next().unwrap_or(LONGEST).min(LONGEST)
        })
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.0.lock().expect("no panic while held").remove(uid);
    }
}
