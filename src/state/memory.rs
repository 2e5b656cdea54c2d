//! What a process remembers of an object between passes; lost, it only looks again.

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
/// look is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// The object's version.
    pub resource_version: Option<String>,
    /// The class.
    pub class: Option<ClassKey>,
    /// How executions are heard of; another number after each interruption, nothing if they are
    /// not.
    pub feed: Option<u64>,
}

/// What the last full look found, and what a look at lists and executions goes by until the next
/// one.
#[derive(Clone, Debug)]
pub struct Settled {
    /// When.
    pub at: Instant,
    /// When lists were last looked at.
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

/// A pipeline that is what it is to be.
#[derive(Clone, Debug)]
pub struct SettledPipeline {
    /// What it copies.
    pub target: Target,
    /// Counts its updates from 1.
    pub version: i32,
    /// When it last changed, by AWS's clock; before all times where AWS has not told yet.
    pub updated_at: Timestamp,
    /// When its notification rule was made.
    pub announced_since: Option<Timestamp>,
    /// ARN of the rule, where that time is by our clock alone.
    pub estimated: Option<String>,
    /// When its own destination bucket was made.
    pub bucket_created_at: Option<Timestamp>,
    /// Whether something differs and is only shown.
    pub drifted: bool,
    /// When its executions were last read, and by which feed they are heard of since.
    pub read_at: Option<(Instant, Option<u64>)>,
}

/// What is remembered.
#[derive(Default)]
struct Remembered {
    basis: Option<Basis>,
    due: Option<Instant>,
    /// Whether a pass over it has begun.
    begun: bool,
    settled: Option<Settled>,
    /// Whether a pass of this process has looked at everything, or was to: what one before it left
    /// on the status counts no more.
    known: bool,
    /// The class as it was at the last full look.
    planned: Option<ClassKey>,
    replan: Option<(ClassKey, Instant)>,
    /// The class itself, as its fan-outs were last told of it.
    seen_class: Option<ClassKey>,
    counted: Option<Instant>,
    /// Whether they are to be counted once more: what a new one makes follows.
    recount: bool,
    backoff: Option<ExponentialBackoff>,
    /// Receipts of events that were heard of it and not yet looked into, and whether one came since
    /// the last pass.
    receipts: Vec<String>,
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

    /// How long until the next look, if nothing happened since the last pass but that pass's own
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

    /// What the last full look found, if all was settled.
    pub fn settled(&self, uid: &str) -> Option<Settled> {
        self.with(uid, |one| one.settled.clone())
    }

    /// Whether nobody in this process has looked at everything yet, nor tried to.
    pub fn unobserved(&self, uid: &str) -> bool {
        self.with(uid, |one| !one.known)
    }

    /// Something happened that the object itself does not show: it is looked at before that is due.
    pub fn notify(&self, uid: &str) {
        self.with(uid, |one| one.notified = true);
    }

    /// An event told of an execution.
    pub fn event(&self, uid: &str, receipt: String) {
        self.with(uid, |one| one.receipts.push(receipt));
        self.notify(uid);
    }

    /// Receipts of what was heard until now; from now on, what comes is new.
    pub fn receipts(&self, uid: &str) -> Vec<String> {
        self.with(uid, |one| {
            one.notified = false;
            one.receipts.clone()
        })
    }

    /// These were looked into.
    pub fn acknowledged(&self, uid: &str, receipts: &[String]) {
        self.with(uid, |one| {
            one.receipts.retain(|heard| !receipts.contains(heard))
        });
    }

    /// Whether something was heard that nobody has looked into.
    pub fn is_notified(&self, uid: &str) -> bool {
        self.with(uid, |one| one.notified)
    }

    /// How long until everything is looked at because the class changed; nothing if it did not.
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

    /// Remembers the end of a pass: what it rested on, and when to look again.
    pub fn concluded(&self, uid: &str, basis: Basis, next: Duration) {
        self.with(uid, |one| {
            one.basis = Some(basis);
            one.due = Some(Instant::now() + next);
        });
    }

    /// Remembers what was found settled, or that everything has to be looked at again.
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

    /// The next delay of a row of failures, of which this is the last one: exponential, with
    /// jitter.
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

    /// Whether a class is another than when this was last asked.
    pub fn class_changed(&self, uid: &str, class: ClassKey) -> bool {
        self.with(uid, |one| one.seen_class.replace(class) != Some(class))
    }

    /// How much of the time is left in which the fan-outs of a class were counted already.
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

    /// Which of these objects are due, and not yet looked at; those that nobody looked at are since
    /// `start`.
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
