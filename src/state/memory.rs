//! What a process remembers of an object between passes. Lost, it is observed again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use jiff::Timestamp;

use crate::cloud::Class;
use crate::domain::execution::Target;
use crate::metrics::Queue;
use crate::state::catalog::ClassKey;

/// Longest delay after repeated failures.
const LONGEST: Duration = Duration::from_secs(300);
/// The same where AWS throttled: the budget keeps the pace, and is quick to see that AWS has
/// stopped.
const LONGEST_THROTTLED: Duration = Duration::from_secs(30);

/// Memories by the objects' uid.
#[derive(Default)]
pub struct Memory {
    /// Boxed, as the table has room for more than there are.
    objects: Mutex<HashMap<String, Box<Remembered>>>,
    /// Passes that run, by uid, and when the last one ended.
    running: Mutex<HashMap<String, Instant>>,
    last_end: Mutex<Option<Instant>>,
}

/// What a pass rests on beside AWS: if none of it changed, there is nothing to do before the next
/// pass is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// The object's version.
    pub resource_version: Option<String>,
    /// The class, as far as fan-outs depend on it.
    pub class: Option<ClassKey>,
    /// Number of interruptions of the feed that brings execution events; nothing if none does.
    pub feed: Option<u64>,
}

/// What the last full observation found. Quick observations go by it until the next one.
#[derive(Clone, Debug)]
pub struct Settled {
    /// When that was.
    pub at: Instant,
    /// When lists were last read.
    pub listed_at: Instant,
    /// The pipeline, if there is one.
    pub pipeline: Option<SettledPipeline>,
}

impl Settled {
    /// What was found now.
    pub fn now(pipeline: Option<SettledPipeline>) -> Self {
        Self {
            at: Instant::now(),
            listed_at: Instant::now(),
            pipeline,
        }
    }
}

/// A pipeline that is as desired.
#[derive(Clone, Debug)]
pub struct SettledPipeline {
    /// What it copies.
    pub target: Target,
    /// Counts its updates from 1.
    pub version: i32,
    /// When it last changed, by AWS's clock; the epoch where that is not known yet.
    pub updated_at: Timestamp,
    /// When its notification rule was made.
    pub announced_since: Option<Timestamp>,
    /// ARN of the rule, where that time is by our clock alone.
    pub estimated: Option<String>,
    /// When its own destination bucket was made.
    pub bucket_created_at: Option<Timestamp>,
    /// Whether something differs and is only shown.
    pub drifted: bool,
    /// When its executions were last read, and the feed that has brought their events since.
    pub read_at: Option<(Instant, Option<u64>)>,
}

/// What is remembered of one object.
#[derive(Default)]
struct Remembered {
    /// What the last pass rested on, and when the next one is due.
    basis: Option<Basis>,
    due: Option<Instant>,
    /// Whether a pass over it has begun.
    begun: bool,
    settled: Option<Settled>,
    /// Whether a pass of this process has observed everything, or tried to. From then on, what a
    /// process before it left on the status counts no more.
    known: bool,
    /// The class as it was at the last full observation.
    planned: Option<ClassKey>,
    replan: Option<(ClassKey, Instant)>,
    /// For a class: its key when its fan-outs were last woken.
    seen_class: Option<ClassKey>,
    /// For a class: when its fan-outs were last counted.
    counted: Option<Instant>,
    /// For a class: whether its fan-outs are to be counted once more, as what a new one makes
    /// follows.
    recount: bool,
    backoff: Option<ExponentialBackoff>,
    /// Receipts of execution events that no pass has looked into yet.
    receipts: Vec<String>,
    /// Whether something happened since the last pass that the object itself does not show.
    notified: bool,
}

impl Memory {
    fn with<T>(&self, uid: &str, f: impl FnOnce(&mut Remembered) -> T) -> T {
        f(self
            .objects
            .lock()
            .expect("no panic while held")
            .entry(uid.to_owned())
            .or_default())
    }

    /// How long until the next pass is due, if nothing happened since the last pass but that pass's own
    /// writes.
    pub fn quiet_for(&self, uid: &str, basis: &Basis) -> Option<Duration> {
        self.with(uid, |one| {
            let same = !one.notified
                && basis.resource_version.is_some()
                && one.basis.as_ref() == Some(basis);
            one.due
                .filter(|_| same)?
                .checked_duration_since(Instant::now())
        })
    }

    /// What the last full observation found, if all was settled.
    pub fn settled(&self, uid: &str) -> Option<Settled> {
        self.with(uid, |one| one.settled.clone())
    }

    /// Whether no pass of this process has observed everything yet, nor tried to.
    pub fn unobserved(&self, uid: &str) -> bool {
        self.with(uid, |one| !one.known)
    }

    /// Remembers that something happened that the object itself does not show: it is observed
    /// before that is due.
    pub fn notify(&self, uid: &str) {
        self.with(uid, |one| one.notified = true);
    }

    /// Remembers an execution event.
    pub fn event(&self, uid: &str, receipt: String) {
        self.with(uid, |one| one.receipts.push(receipt));
        self.notify(uid);
    }

    /// The receipts of all events that no pass has looked into. What comes from now on is new.
    pub fn receipts(&self, uid: &str) -> Vec<String> {
        self.with(uid, |one| {
            one.notified = false;
            one.receipts.clone()
        })
    }

    /// Forgets the receipts of events that a pass has looked into.
    pub fn acknowledged(&self, uid: &str, receipts: &[String]) {
        self.with(uid, |one| {
            one.receipts.retain(|receipt| !receipts.contains(receipt))
        });
    }

    /// Whether something happened since the last pass that the object itself does not show.
    pub fn is_notified(&self, uid: &str) -> bool {
        self.with(uid, |one| one.notified)
    }

    /// How long until everything is observed because the class changed; nothing if it did not.
    /// What the class has made counts at once, a change of its spec after `spread`, so that a
    /// thousand objects do not follow it all at once.
    pub fn replan_in(
        &self,
        uid: &str,
        class: Option<ClassKey>,
        spread: Duration,
    ) -> Option<Duration> {
        self.with(uid, |one| {
            let (planned, class) = (one.planned?, class?);
            if planned == class {
                return None;
            }
            if planned.made != class.made {
                return Some(Duration::ZERO);
            }
            let at = match one.replan {
                Some((key, at)) if key == class => at,
                _ => Instant::now() + spread,
            };
            one.replan = Some((class, at));
            Some(at.saturating_duration_since(Instant::now()))
        })
    }

    /// Remembers the end of a pass: what it rested on, and when the next one is due.
    pub fn concluded(&self, uid: &str, basis: Basis, next: Duration) {
        self.with(uid, |one| {
            one.basis = Some(basis);
            one.due = Some(Instant::now() + next);
        });
    }

    /// Remembers what was found settled, or that everything has to be observed again.
    pub fn observed(&self, uid: &str, settled: Option<Settled>, class: Option<ClassKey>) {
        self.with(uid, |one| {
            one.known = true;
            one.planned = class;
            if settled.is_some() {
                one.backoff = None;
            }
            one.settled = settled;
        });
    }

    /// Remembers that what was settled still is, as far as lists and executions tell.
    pub fn confirmed(&self, uid: &str, settled: Settled, class: Option<ClassKey>) {
        self.with(uid, |one| {
            one.settled = Some(settled);
            one.planned = one.planned.or(class);
        });
    }

    /// The delay after a failure: exponential over the failures in a row, with jitter.
    pub fn backoff(&self, uid: &str, last: Class) -> Duration {
        let longest = if last == Class::Throttled {
            LONGEST_THROTTLED
        } else {
            LONGEST
        };
        self.with(uid, |one| {
            let backoff = one.backoff.get_or_insert_with(|| {
                ExponentialBuilder::default()
                    .with_min_delay(Duration::from_secs(1))
                    .with_max_delay(LONGEST)
                    .without_max_times()
                    .with_jitter()
                    .build()
            });
            backoff.next().unwrap_or(longest).min(longest)
        })
    }

    /// Whether a class has changed since this was last asked.
    pub fn class_changed(&self, uid: &str, class: ClassKey) -> bool {
        self.with(uid, |one| one.seen_class.replace(class) != Some(class))
    }

    /// The rest of this time since the fan-outs of a class were last counted; nothing once it is
    /// over.
    pub fn counted_within(&self, uid: &str, time: Duration) -> Option<Duration> {
        self.with(uid, |one| time.checked_sub(one.counted?.elapsed()))
    }

    /// Remembers that the fan-outs of a class were counted now, and whether there were more or
    /// fewer of them.
    pub fn counted(&self, uid: &str, changed: bool) {
        self.with(uid, |one| {
            (one.counted, one.recount) = (Some(Instant::now()), changed)
        });
    }

    /// Whether they are to be counted once more.
    pub fn counts_again(&self, uid: &str) -> bool {
        self.with(uid, |one| one.recount)
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.objects
            .lock()
            .expect("no panic while held")
            .remove(uid);
    }

    /// A pass begins.
    pub fn begun(&self, uid: &str) {
        self.running
            .lock()
            .expect("no panic while held")
            .insert(uid.to_owned(), Instant::now());
        self.with(uid, |one| one.begun = true);
    }

    /// A pass has ended.
    pub fn ended(&self, uid: &str) {
        self.running
            .lock()
            .expect("no panic while held")
            .remove(uid);
        *self.last_end.lock().expect("no panic while held") = Some(Instant::now());
    }

    /// When a pass last ended.
    pub fn last_end(&self) -> Option<Instant> {
        *self.last_end.lock().expect("no panic while held")
    }

    /// The object whose pass runs for longest, and since when.
    pub fn longest_running(&self) -> Option<(String, Instant)> {
        let running = self.running.lock().expect("no panic while held");
        running
            .iter()
            .min_by_key(|(_, since)| **since)
            .map(|(uid, since)| (uid.clone(), *since))
    }

    /// The number of these objects that are due, and how long the longest has been. An object that
    /// no pass has begun on is due since `start`.
    pub fn queue(&self, uids: impl Iterator<Item = String>, start: Instant) -> Queue {
        let objects = self.objects.lock().expect("no panic while held");
        let running = self.running.lock().expect("no panic while held");
        let mut queue = Queue::default();
        for uid in uids.filter(|uid| !running.contains_key(uid)) {
            let due = match objects.get(&uid) {
                Some(one) if one.begun => one.due,
                _ => Some(start),
            };
            if let Some(waits) = due.and_then(|due| Instant::now().checked_duration_since(due)) {
                queue.depth += 1;
                queue.age = queue.age.max(waits);
            }
        }
        queue
    }
}
