//! Memory of each object between passes. If it is lost, the object is observed again.

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
const MAX_DELAY: Duration = Duration::from_secs(300);
/// Longest delay while AWS throttles. The rate limit slows calls down already, and a short delay
/// notices soon that the throttling has ended.
const MAX_THROTTLED_DELAY: Duration = Duration::from_secs(30);

/// Remembers objects by uid.
#[derive(Default)]
pub struct Memory {
    /// Entries are boxed because the hash table allocates more slots than it uses.
    objects: Mutex<HashMap<String, Box<Remembered>>>,
    /// Start of each running pass, by uid.
    running: Mutex<HashMap<String, Instant>>,
    last_end: Mutex<Option<Instant>>,
}

/// The inputs of a pass other than AWS. While they are unchanged, the object needs no pass before
/// it is due.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Basis {
    /// Resource version of the object.
    pub resource_version: Option<String>,
    /// Key of the class, which changes with everything that fan-outs take from the class.
    pub class: Option<ClassKey>,
    /// Number of interruptions of the feed that delivers execution events, or `None` if no feed
    /// does.
    pub feed: Option<u64>,
}

/// Result of the last full observation, which quick observations build on until the next one.
#[derive(Clone, Debug)]
pub struct Settled {
    /// When everything was last observed.
    pub at: Instant,
    /// When lists were last read.
    pub listed_at: Instant,
    /// The pipeline, if it exists.
    pub pipeline: Option<SettledPipeline>,
}

impl Settled {
    /// Creates a result that was observed just now.
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
    /// Source and destination of its copies.
    pub target: Target,
    /// Version of the pipeline, which counts its updates from 1.
    pub version: i32,
    /// When it last changed by AWS's clock, or the epoch if that is not known yet.
    pub updated_at: Timestamp,
    /// When its notification rule was created.
    pub announced_since: Option<Timestamp>,
    /// ARN of the rule, if that time was taken from our clock.
    pub estimated: Option<String>,
    /// When its own destination bucket was created.
    pub bucket_created_at: Option<Timestamp>,
    /// Whether it has drifted and the drift is only reported.
    pub drifted: bool,
    /// When its executions were last read, and the feed that has delivered their events since.
    pub read_at: Option<(Instant, Option<u64>)>,
}

/// Memory of one object.
#[derive(Default)]
struct Remembered {
    /// Inputs of the last pass, and when the next pass is due.
    basis: Option<Basis>,
    due: Option<Instant>,
    /// Whether a pass over the object has begun.
    begun: bool,
    settled: Option<Settled>,
    /// Whether a pass of this process has observed everything, or tried to. From then on, the state
    /// that an earlier process left on the status is not used any more.
    known: bool,
    /// Key of the class at the last full observation.
    planned: Option<ClassKey>,
    replan: Option<(ClassKey, Instant)>,
    /// For a class: its key when its fan-outs were last woken.
    seen_class: Option<ClassKey>,
    /// For a class: when its fan-outs were last counted.
    counted: Option<Instant>,
    /// For a class: whether its fan-outs are counted once more, because a new fan-out is still
    /// creating resources.
    recount: bool,
    backoff: Option<ExponentialBackoff>,
    /// When the first of the failures in a row was.
    failing_since: Option<Timestamp>,
    /// Receipts of execution events that no pass has handled yet.
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

    /// Returns how long the object can rest until its next pass is due, or `None` if its inputs
    /// changed since the last pass.
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

    /// Returns the result of the last full observation, if everything was as desired.
    pub fn settled(&self, uid: &str) -> Option<Settled> {
        self.with(uid, |one| one.settled.clone())
    }

    /// Returns whether no pass of this process has observed everything yet, nor tried to.
    pub fn unobserved(&self, uid: &str) -> bool {
        self.with(uid, |one| !one.known)
    }

    /// Requests a pass before the object is due, because of something that the object itself does
    /// not show.
    pub fn notify(&self, uid: &str) {
        self.with(uid, |one| one.notified = true);
    }

    /// Remembers an execution event and requests a pass.
    pub fn event(&self, uid: &str, receipt: String) {
        self.with(uid, |one| one.receipts.push(receipt));
        self.notify(uid);
    }

    /// Returns the receipts of all events that no pass has handled. Events that arrive later
    /// request another pass.
    pub fn receipts(&self, uid: &str) -> Vec<String> {
        self.with(uid, |one| {
            one.notified = false;
            one.receipts.clone()
        })
    }

    /// Forgets the receipts of events that a pass has handled.
    pub fn acknowledged(&self, uid: &str, receipts: &[String]) {
        self.with(uid, |one| {
            one.receipts.retain(|receipt| !receipts.contains(receipt))
        });
    }

    /// Whether something happened since the last pass that the object itself does not show.
    pub fn is_notified(&self, uid: &str) -> bool {
        self.with(uid, |one| one.notified)
    }

    /// Returns how long until everything is observed because the class changed, or `None` if it did
    /// not change.
    ///
    /// Resources that the class created count at once. A change of its spec counts after `spread`,
    /// so that a thousand objects do not follow it at the same time.
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

    /// Remembers the inputs of a pass that ended, and when the next pass is due.
    pub fn concluded(&self, uid: &str, basis: Basis, next: Duration) {
        self.with(uid, |one| {
            one.basis = Some(basis);
            one.due = Some(Instant::now() + next);
        });
    }

    /// Remembers the result of a full observation, or that everything has to be observed again.
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

    /// Remembers that the last result still holds, judging by lists and executions.
    pub fn confirmed(&self, uid: &str, settled: Settled, class: Option<ClassKey>) {
        self.with(uid, |one| {
            one.settled = Some(settled);
            one.planned = one.planned.or(class);
        });
    }

    /// Remembers that AWS could be looked at: what failed before does not count any more.
    pub fn looked(&self, uid: &str) {
        self.with(uid, |one| one.failing_since = None);
    }

    /// Returns when the first of the failures in a row was, which is now if there was none before.
    pub fn failing_since(&self, uid: &str, now: Timestamp) -> Timestamp {
        self.with(uid, |one| *one.failing_since.get_or_insert(now))
    }

    /// Returns the delay after a failure: it grows exponentially with the failures in a row, with
    /// jitter.
    pub fn backoff(&self, uid: &str, last: Class) -> Duration {
        let longest = if last == Class::Throttled {
            MAX_THROTTLED_DELAY
        } else {
            MAX_DELAY
        };
        self.with(uid, |one| {
            let backoff = one.backoff.get_or_insert_with(|| {
                ExponentialBuilder::default()
                    .with_min_delay(Duration::from_secs(1))
                    .with_max_delay(MAX_DELAY)
                    .without_max_times()
                    .with_jitter()
                    .build()
            });
            backoff.next().unwrap_or(longest).min(longest)
        })
    }

    /// Returns whether a class has changed since the last call.
    pub fn class_changed(&self, uid: &str, class: ClassKey) -> bool {
        self.with(uid, |one| one.seen_class.replace(class) != Some(class))
    }

    /// Returns how much of `time` remains since the fan-outs of a class were last counted, or
    /// `None` once it is over.
    pub fn counted_within(&self, uid: &str, time: Duration) -> Option<Duration> {
        self.with(uid, |one| time.checked_sub(one.counted?.elapsed()))
    }

    /// Remembers that the fan-outs of a class were counted now, and whether their number changed.
    pub fn counted(&self, uid: &str, changed: bool) {
        self.with(uid, |one| {
            (one.counted, one.recount) = (Some(Instant::now()), changed)
        });
    }

    /// Returns whether the fan-outs of a class have to be counted once more.
    pub fn counts_again(&self, uid: &str) -> bool {
        self.with(uid, |one| one.recount)
    }

    /// Forgets a deleted object.
    pub fn forget(&self, uid: &str) {
        self.objects
            .lock()
            .expect("no panic while held")
            .remove(uid);
    }

    /// Records that a pass begins.
    pub fn begun(&self, uid: &str) {
        self.running
            .lock()
            .expect("no panic while held")
            .insert(uid.to_owned(), Instant::now());
        self.with(uid, |one| one.begun = true);
    }

    /// Records that a pass has ended.
    pub fn ended(&self, uid: &str) {
        self.running
            .lock()
            .expect("no panic while held")
            .remove(uid);
        *self.last_end.lock().expect("no panic while held") = Some(Instant::now());
    }

    /// Returns when a pass last ended.
    pub fn last_end(&self) -> Option<Instant> {
        *self.last_end.lock().expect("no panic while held")
    }

    /// Returns the uid of the object whose pass has been running the longest, and when the pass
    /// began.
    pub fn longest_running(&self) -> Option<(String, Instant)> {
        let running = self.running.lock().expect("no panic while held");
        running
            .iter()
            .min_by_key(|(_, since)| **since)
            .map(|(uid, since)| (uid.clone(), *since))
    }

    /// Counts the objects among `uids` that are due, and returns how long the first of them has
    /// been waiting. An object without a pass so far has been due since `start`.
    pub fn queue(&self, uids: impl Iterator<Item = String>, start: Instant) -> Queue {
        let objects = self.objects.lock().expect("no panic while held");
        let running = self.running.lock().expect("no panic while held");
        let mut queue = Queue::default();
        for uid in uids.filter(|uid| !running.contains_key(uid)) {
            let due = match objects.get(&uid) {
                Some(one) if one.begun => one.due,
                _ => Some(start),
            };
            if let Some(age) = due.and_then(|due| Instant::now().checked_duration_since(due)) {
                queue.depth += 1;
                queue.age = queue.age.max(age);
            }
        }
        queue
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "uid";
    const MINUTE: Duration = Duration::from_secs(60);

    fn key(generation: i64, made: u64) -> ClassKey {
        ClassKey { generation, made }
    }

    fn basis(version: &str) -> Basis {
        Basis {
            resource_version: Some(version.to_owned()),
            class: Some(key(1, 1)),
            feed: Some(0),
        }
    }

    #[test]
    fn an_object_rests_while_its_inputs_are_unchanged() {
        let unchanged = basis("1");
        let cases = [
            ("unchanged", unchanged.clone(), true),
            ("another version", basis("2"), false),
            (
                "another class key",
                Basis {
                    class: Some(key(2, 1)),
                    ..basis("1")
                },
                false,
            ),
            (
                "an interrupted feed",
                Basis {
                    feed: Some(1),
                    ..basis("1")
                },
                false,
            ),
            (
                "no feed",
                Basis {
                    feed: None,
                    ..basis("1")
                },
                false,
            ),
        ];
        for (case, inputs, rests) in cases {
            let memory = Memory::default();
            memory.concluded(UID, unchanged.clone(), MINUTE);
            let rest = memory.quiet_for(UID, &inputs);
            assert_eq!(rest.is_some(), rests, "{case}");
            assert!(rest.is_none_or(|rest| rest <= MINUTE), "{case}");
        }
    }

    #[test]
    fn an_object_does_not_rest_without_a_pass_without_a_version_or_once_it_is_due() {
        let memory = Memory::default();
        assert_eq!(memory.quiet_for(UID, &basis("1")), None);
        memory.concluded(UID, Basis::default(), MINUTE);
        assert_eq!(memory.quiet_for(UID, &Basis::default()), None);
        memory.concluded(UID, basis("1"), Duration::ZERO);
        let rest = memory.quiet_for(UID, &basis("1"));
        assert!(rest.is_none_or(|rest| rest.is_zero()));
    }

    #[test]
    fn an_event_ends_the_rest_until_a_pass_reads_its_receipt() {
        let memory = Memory::default();
        memory.concluded(UID, basis("1"), MINUTE);
        memory.event(UID, "receipt".to_owned());
        assert!(memory.is_notified(UID));
        assert_eq!(memory.quiet_for(UID, &basis("1")), None);
        assert_eq!(memory.receipts(UID), ["receipt"]);
        assert!(!memory.is_notified(UID));
        assert!(memory.quiet_for(UID, &basis("1")).is_some());
        assert_eq!(memory.receipts(UID), ["receipt"], "kept until acknowledged");
        memory.acknowledged(UID, &["receipt".to_owned()]);
        assert!(memory.receipts(UID).is_empty());
    }

    #[test]
    fn a_change_of_the_class_is_followed_at_once_or_after_the_spread() {
        let cases = [
            ("unchanged", Some(key(1, 1)), None),
            ("no class", None, None),
            ("it created a resource", Some(key(1, 2)), Some(false)),
            ("both changed", Some(key(2, 2)), Some(false)),
            ("its spec changed", Some(key(2, 1)), Some(true)),
        ];
        for (case, class, spread) in cases {
            let memory = Memory::default();
            memory.observed(UID, None, Some(key(1, 1)));
            let wait = memory.replan_in(UID, class, MINUTE);
            assert_eq!(wait.map(|wait| !wait.is_zero()), spread, "{case}");
            assert!(wait.is_none_or(|wait| wait <= MINUTE), "{case}");
        }
        let memory = Memory::default();
        assert_eq!(memory.replan_in(UID, Some(key(1, 1)), MINUTE), None);
    }

    #[test]
    fn the_spread_of_one_change_is_fixed_and_another_change_begins_anew() {
        let memory = Memory::default();
        memory.observed(UID, None, Some(key(1, 1)));
        memory.replan_in(UID, Some(key(2, 1)), MINUTE);
        let again = memory.replan_in(UID, Some(key(2, 1)), MINUTE * 60);
        assert!(again.is_some_and(|wait| wait <= MINUTE));
        let another = memory.replan_in(UID, Some(key(3, 1)), MINUTE * 60);
        assert!(another.is_some_and(|wait| wait > MINUTE));
        memory.observed(UID, None, Some(key(3, 1)));
        assert_eq!(memory.replan_in(UID, Some(key(3, 1)), MINUTE), None);
    }

    #[test]
    fn the_backoff_grows_within_bounds_and_starts_again_after_a_success() {
        for (class, max) in [
            (Class::Transient, MAX_DELAY),
            (Class::Denied, MAX_DELAY),
            (Class::Throttled, MAX_THROTTLED_DELAY),
        ] {
            let memory = Memory::default();
            let delays: Vec<_> = (0..50).map(|_| memory.backoff(UID, class)).collect();
            let shortest = Duration::from_secs(1);
            assert!(delays[0] >= shortest && delays[0] <= shortest * 2);
            assert!(delays.iter().all(|d| (shortest..=max).contains(d)));
            assert_eq!(delays[49], max, "{class:?}");
            memory.observed(UID, None, None);
            assert_eq!(memory.backoff(UID, class), max, "a failure does not reset");
            memory.observed(UID, Some(Settled::now(None)), None);
            assert!(memory.backoff(UID, class) <= shortest * 2);
        }
    }
}
