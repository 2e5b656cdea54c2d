//! Pruning: which of the copied files are no longer in the repository, and whether it is proved
//! that a delivery put them there.
//!
//! CodePipeline's S3 deploy writes every file of its source artifact anew and deletes nothing. A
//! key that the newest artifact does not have was therefore last written by the last execution that
//! had it: it has that execution's time, and that execution's artifact has its name and its size.
//! Whatever lacks one of the three is somebody else's, and stays.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};

use crate::api::condition::Reason;
use crate::api::repofanout::PruneLimitSpec;
use crate::domain::execution::Execution;
use crate::domain::refusal::Refusal;
use crate::domain::settings::Settings;
use crate::spec::fanout::known;

/// What `destination.prune` asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    /// Whether it is only told what would be deleted.
    pub dry_run: bool,
    /// How much may go at once.
    pub limit: Limit,
}

/// How many keys may be deleted after one execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Of what earlier deliveries put there, in percent.
    pub percent: u32,
    /// At all.
    pub objects: usize,
}

impl Prune {
    /// What the object asks for, where objects may ask for it.
    pub fn parse(
        settings: &Settings,
        mode: Option<&str>,
        limit: PruneLimitSpec,
    ) -> Result<Option<Self>, Refusal> {
        let modes = ["Disabled", "DryRun", "Enabled"];
        let mode = known(
            "destination.prune",
            mode.unwrap_or("Disabled").to_owned(),
            &modes,
        )?;
        if mode == "Disabled" {
            return Ok(None);
        }
        if !settings.allow_prune {
            return Err(Refusal::new(
                Reason::NotAllowed,
                format!(
                    "destination.prune: {mode} has the operator delete files, and it does not run \
                         with --allow-prune (operator.allowPrune in the chart); have it run so, \
                         with the policy that `repofanout iam-policy --allow-prune` prints, or \
                         leave prune out"
                ),
            ));
        }
        let number = |given: Option<i32>, default: i32| given.unwrap_or(default).unsigned_abs();
        let limit = Limit {
            percent: number(limit.percent, 50),
            objects: number(limit.objects, 10_000) as usize,
        };
        Ok(Some(Self {
            dry_run: mode == "DryRun",
            limit,
        }))
    }
}

impl Limit {
    /// So few may always go: the half of a small repository is no accident.
    const FEW: usize = 10;

    /// Whether so many of `all` may go.
    pub fn allows(self, stale: usize, all: usize) -> bool {
        stale <= self.objects && (stale <= Self::FEW || stale * 100 <= all * self.percent as usize)
    }
}

/// A file in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// What it is deleted by: another content has another one.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, in whole seconds.
    pub modified: Timestamp,
}

/// A file in a source artifact, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes.
    pub size: u64,
    /// CRC-32 of its content.
    pub crc: u32,
}

/// The files of a source artifact.
pub type Entries = HashMap<String, Entry>;

/// The objects that the artifact does not have, and how many of its files are not there.
pub fn leftovers<'a>(
    objects: &'a [Object],
    prefix: &str,
    artifact: &Entries,
) -> (Vec<&'a Object>, usize) {
    let (there, left): (Vec<&Object>, Vec<&Object>) = objects
        .iter()
        .partition(|o| path(o, prefix).is_some_and(|path| artifact.contains_key(path)));
    (left, artifact.len() - there.len())
}

/// The executions that may have written the object: they ran at that time, which S3 tells in whole
/// seconds.
pub fn writers<'a>(
    executions: &'a [Execution],
    object: &Object,
) -> impl Iterator<Item = &'a Execution> {
    const SECOND: SignedDuration = SignedDuration::from_secs(1);
    let at = object.modified;
    executions.iter().filter(move |e| {
        !e.state.is_running() && e.started_at - SECOND < at && at <= e.updated_at + SECOND
    })
}

/// Whether an execution with this artifact wrote the object.
pub fn wrote(artifact: &Entries, prefix: &str, object: &Object) -> bool {
    path(object, prefix)
        .and_then(|path| artifact.get(path))
        .is_some_and(|entry| entry.size == object.size)
}

/// The first few, for a message.
pub fn some(keys: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown = keys[..keys.len().min(SHOWN)].join(", ");
    match keys.len().saturating_sub(SHOWN) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

fn path<'a>(object: &'a Object, prefix: &str) -> Option<&'a str> {
    object.key.strip_prefix(prefix)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::execution::ExecutionState;

    fn object(key: &str, size: u64, second: i64) -> Object {
        let modified = Timestamp::from_second(second).unwrap();
        Object {
            key: key.into(),
            etag: "e".into(),
            size,
            modified,
        }
    }

    fn entries(paths: &[(&str, u64)]) -> Entries {
        paths
            .iter()
            .map(|(path, size)| {
                (
                    (*path).to_owned(),
                    Entry {
                        size: *size,
                        crc: 0,
                    },
                )
            })
            .collect()
    }

    #[test]
    fn what_the_artifact_lacks_is_left_over_and_what_is_missing_is_counted() {
        let objects = [
            object("docs/a", 1, 0),
            object("docs/b/c", 1, 0),
            object("docs-old/a", 1, 0),
        ];
        let (left, missing) = leftovers(&objects, "docs", &entries(&[("a", 1), ("gone", 1)]));
        assert_eq!(
            left.iter().map(|o| &*o.key).collect::<Vec<_>>(),
            ["docs/b/c", "docs-old/a"]
        );
        assert_eq!(missing, 1);
    }

    #[test]
    fn only_name_size_and_time_together_prove_a_delivery() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let execution = |id: &str, start: i64, end: i64| Execution {
            id: id.into(),
            state: ExecutionState::Succeeded,
            trigger: None,
            commit: None,
            started_at: at(start),
            updated_at: at(end),
        };
        let all = [execution("new", 100, 120), execution("old", 10, 20)];
        let writers = |second| {
            writers(&all, &object("docs/a", 1, second))
                .map(|e| &*e.id)
                .collect::<Vec<_>>()
        };
        assert_eq!((writers(15), writers(50)), (vec!["old"], vec![]));
        let artifact = entries(&[("a", 1)]);
        assert!(wrote(&artifact, "docs", &object("docs/a", 1, 15)));
        assert!(
            !wrote(&artifact, "docs", &object("docs/a", 2, 15)),
            "another size"
        );
        assert!(
            !wrote(&artifact, "docs", &object("docs-a", 1, 15)),
            "another name"
        );
    }

    #[test]
    fn a_limit_is_a_share_and_a_number_and_lets_a_few_go() {
        let limit = Limit {
            percent: 50,
            objects: 100,
        };
        assert!(limit.allows(10, 10) && limit.allows(50, 100) && limit.allows(0, 0));
        assert!(!limit.allows(51, 100) && !limit.allows(101, 10_000));
    }

    #[test]
    fn a_message_names_a_few_keys() {
        assert_eq!(some(&["a", "b"]), "a, b");
        assert_eq!(some(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
