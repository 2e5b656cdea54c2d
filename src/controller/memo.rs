//! What a process remembers of an object between passes; lost, it only looks again.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::classes::ClassKey;
use crate::metrics::Queue;
use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};

/// Longest delay after repeated failures.
const LONGEST: Duration = Duration::from_secs(300);

/// Memories by the objects' uid.
#[derive(Default)]
pub struct Memos {
    objects: Mutex<HashMap<String, Memo>>,
    /// Passes that run, by uid, and when the last one ended.
    running: Mutex<HashMap<String, Instant>>,
    last_end: Mutex<Option<Instant>>,
}

/// What is remembered.
#[derive(Default)]
struct Memo {
    resource_version: Option<String>,
    due: Option<Instant>,
    /// Whether a pass over it has begun.
    looked_at: bool,
    full_look: Option<Instant>,
    /// The class as it was at the last pass, and at the last full look.
    seen: Option<ClassKey>,
    planned: Option<ClassKey>,
    replan: Option<(ClassKey, Instant)>,
    /// The class itself, as its fan-outs were last told of it.
    seen_class: Option<ClassKey>,
    counted: Option<Instant>,
    backoff: Option<ExponentialBackoff>,
}

impl Memos {
    fn with<T>(&self, uid: &str, f: impl FnOnce(&mut Memo) -> T) -> T {
        f(self.objects.lock().expect("no panic while held").entry(uid.to_owned()).or_default())
    }

    /// How long until the next look, if nothing happened since the last pass but
    /// that pass's own writes.
    pub fn quiet_for(&self, uid: &str, resource_version: Option<&str>, class: Option<ClassKey>) -> Option<Duration> {
        self.with(uid, |memo| {
            let same = memo.resource_version.is_some() && memo.resource_version.as_deref() == resource_version;
            let same = same && memo.seen == class;
            memo.due.filter(|_| same)?.checked_duration_since(Instant::now())
        })
    }

    /// How long ago everything was looked at and found settled.
    pub fn since_full_look(&self, uid: &str) -> Option<Duration> {
        self.with(uid, |memo| memo.full_look.map(|at| at.elapsed()))
    }

    /// How long until everything is looked at because the class changed; nothing if it did not. What the class has made counts at
    /// once, a change of its spec after `spread`, so that a thousand objects do not follow it all at once.
    pub fn replan_in(&self, uid: &str, class: Option<ClassKey>, spread: Duration) -> Option<Duration> {
        self.with(uid, |memo| {
            let (planned, class) = (memo.planned?, class?);
            if planned == class {
                return None;
            }
            if planned.made != class.made {
                return Some(Duration::ZERO);
            }
            let at = match memo.replan {
                Some((key, at)) if key == class => at,
                _ => Instant::now() + spread,
            };
            memo.replan = Some((class, at));
            Some(at.saturating_duration_since(Instant::now()))
        })
    }

    /// Remembers the end of a pass: object and class as it left them, and when to look again.
    pub fn passed(&self, uid: &str, resource_version: Option<String>, class: Option<ClassKey>, next: Duration) {
        self.with(uid, |memo| {
            memo.seen = class;
            memo.resource_version = resource_version;
            memo.due = Some(Instant::now() + next);
        });
    }

    /// Remembers that everything was looked at and is settled, or that it has to be looked at again.
    pub fn looked(&self, uid: &str, settled: bool, class: Option<ClassKey>) {
        self.with(uid, |memo| {
            memo.planned = class;
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

    /// Whether a class is another than when this was last asked.
    pub fn class_changed(&self, uid: &str, class: ClassKey) -> bool {
        self.with(uid, |memo| memo.seen_class.replace(class) != Some(class))
    }

    /// How much of the time is left in which the fan-outs of a class were counted already.
    pub fn counted_within(&self, uid: &str, time: Duration) -> Option<Duration> {
        self.with(uid, |memo| time.checked_sub(memo.counted?.elapsed()))
    }

    /// Remembers when the fan-outs of a class were counted.
    pub fn counted(&self, uid: &str, at: Instant) {
        self.with(uid, |memo| memo.counted = Some(at));
    }

    /// Forgets an object that is gone.
    pub fn forget(&self, uid: &str) {
        self.objects.lock().expect("no panic while held").remove(uid);
    }

    /// A pass begins.
    pub fn begun(&self, uid: &str) {
        self.running.lock().expect("no panic while held").insert(uid.to_owned(), Instant::now());
        self.with(uid, |memo| memo.looked_at = true);
    }

    /// A pass has ended.
    pub fn ended(&self, uid: &str) {
        self.running.lock().expect("no panic while held").remove(uid);
        *self.last_end.lock().expect("no panic while held") = Some(Instant::now());
    }

    /// When a pass last ended.
    pub fn last_end(&self) -> Option<Instant> {
        *self.last_end.lock().expect("no panic while held")
    }

    /// The object whose pass runs for longest, and since when.
    pub fn longest_running(&self) -> Option<(String, Instant)> {
        let running = self.running.lock().expect("no panic while held");
        running.iter().min_by_key(|(_, since)| **since).map(|(uid, since)| (uid.clone(), *since))
    }

    /// Which of these objects are due, and not yet looked at; those that nobody looked at are since `start`.
    pub fn queue(&self, uids: impl Iterator<Item = String>, start: Instant) -> Queue {
        let objects = self.objects.lock().expect("no panic while held");
        let running = self.running.lock().expect("no panic while held");
        let mut queue = Queue::default();
        for uid in uids.filter(|uid| !running.contains_key(uid)) {
            let due = match objects.get(&uid) {
                Some(memo) if memo.looked_at => memo.due,
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
