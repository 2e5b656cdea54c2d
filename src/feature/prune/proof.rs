//! The proof that pruning needs: a file is no longer in the repository, and a delivery wrote it.
//!
//! CodePipeline's S3 deploy writes every file of its source artifact again and deletes nothing. A
//! delivered key that the newest artifact does not contain was therefore last written by the last
//! execution whose artifact contained it. Three things prove that: the object was written while that
//! execution ran, and its name and its size are in that execution's artifact. An object that lacks
//! one of the three belongs to somebody else, and stays.

use jiff::SignedDuration;

use crate::domain::execution::Execution;
use crate::domain::object::{Entries, Object, without_controls};

/// The objects that the artifact does not contain, and the number of its files that are missing.
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

/// The executions that may have written the object because they ran at that time. S3 gives times in
/// whole seconds.
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

/// The first few keys, for a message.
pub fn some(keys: &[&str]) -> String {
    const SHOWN: usize = 3;
    let shown = keys.iter().take(SHOWN).map(|key| without_controls(key));
    let shown = shown.collect::<Vec<_>>().join(", ");
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
    use jiff::Timestamp;

    use super::*;
    use crate::domain::execution::ExecutionState;
    use crate::domain::object::Entry;

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
    fn a_message_names_a_few_keys() {
        assert_eq!(some(&["a", "b"]), "a, b");
        assert_eq!(some(&["a", "b", "c", "d", "e"]), "a, b, c and 2 more");
    }
}
