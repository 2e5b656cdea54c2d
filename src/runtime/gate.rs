//! Decides whether passes may run in this process.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use kube::CustomResourceExt;

use crate::api::{RepoFanout, RepoFanoutClass};

/// Opens once this process leads, its caches are synced, and the cluster's schema is at least as
/// new as the program's.
///
/// A pass relies on all objects being cached: a class that knew only part of its fan-outs would
/// delete resources that the others use.
#[derive(Default)]
pub struct Gate(Mutex<State>);

struct State {
    leads: bool,
    /// Whether the caches are synced.
    synced: bool,
    /// Problem with the schema of each CustomResourceDefinition, or `None` if it is usable.
    schema: BTreeMap<&'static str, Option<String>>,
    /// When the gate opened, if it is open.
    open_since: Option<Instant>,
}

impl Default for State {
    fn default() -> Self {
        let names = [RepoFanout::crd_name(), RepoFanoutClass::crd_name()];
        let not_found_yet = |name| {
            (
                name,
                Some(format!(
                    "starting: waiting for the CustomResourceDefinition {name}"
                )),
            )
        };
        Self {
            leads: false,
            synced: false,
            schema: names.map(not_found_yet).into(),
            open_since: None,
        }
    }
}

impl Gate {
    /// Returns when the gate opened, or `None` while it is closed.
    pub fn open_since(&self) -> Option<Instant> {
        self.0.lock().expect("no panic while held").open_since
    }

    /// Records that this process leads. Returns whether this opened the gate.
    pub fn lead(&self) -> bool {
        self.change(|state| state.leads = true)
    }

    /// Records that the caches are synced. Returns whether this opened the gate.
    pub fn synced(&self) -> bool {
        self.change(|state| state.synced = true)
    }

    /// Records the problem with a resource's schema, or that it is usable. Returns whether this
    /// opened the gate.
    pub fn schema(&self, name: &'static str, problem: Option<String>) -> bool {
        self.change(|state| {
            state.schema.insert(name, problem);
        })
    }

    fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        let mut state = self.0.lock().expect("no panic while held");
        change(&mut state);
        let open = state.leads && state.synced && state.schema.values().all(Option::is_none);
        let opened = open && state.open_since.is_none();
        state.open_since = if open {
            state.open_since.or_else(|| Some(Instant::now()))
        } else {
            None
        };
        opened
    }

    /// Checks that this process follows the cluster and could take over.
    ///
    /// # Errors
    /// Returns one line that says what is missing.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.0.lock().expect("no panic while held");
        match state.schema.values().flatten().next() {
            Some(problem) => Err(problem.clone()),
            None if !state.synced => Err("starting: the caches are being filled".to_owned()),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A change of the gate's state.
    #[derive(Clone, Copy, Debug)]
    enum Change {
        Lead,
        Sync,
        Usable(&'static str),
        Unusable(&'static str),
    }

    impl Change {
        fn apply(self, gate: &Gate) -> bool {
            match self {
                Self::Lead => gate.lead(),
                Self::Sync => gate.synced(),
                Self::Usable(name) => gate.schema(name, None),
                Self::Unusable(name) => gate.schema(name, Some(format!("{name} is too old"))),
            }
        }
    }

    fn all() -> [Change; 4] {
        [
            Change::Lead,
            Change::Sync,
            Change::Usable(RepoFanout::crd_name()),
            Change::Usable(RepoFanoutClass::crd_name()),
        ]
    }

    fn apply_all(gate: &Gate) -> [bool; 4] {
        all().map(|change| change.apply(gate))
    }

    #[test]
    fn it_opens_with_the_last_condition_in_whichever_order_they_come() {
        for first in 0..4 {
            for second in (0..4).filter(|n| *n != first) {
                let rest = (0..4).filter(|n| *n != first && *n != second);
                let order: Vec<usize> = [first, second].into_iter().chain(rest).collect();
                let gate = Gate::default();
                for (position, index) in order.iter().enumerate() {
                    assert!(gate.open_since().is_none(), "{order:?}");
                    assert_eq!(all()[*index].apply(&gate), position == 3, "{order:?}");
                }
                assert!(gate.open_since().is_some(), "{order:?}");
            }
        }
    }

    #[test]
    fn a_repeated_change_does_not_open_it_again() {
        let gate = Gate::default();
        all().into_iter().for_each(|change| {
            change.apply(&gate);
        });
        let open_since = gate.open_since();
        assert_eq!(apply_all(&gate), [false; 4]);
        assert_eq!(gate.open_since(), open_since);
    }

    #[test]
    fn it_closes_while_a_schema_is_unusable() {
        let gate = Gate::default();
        all().into_iter().for_each(|change| {
            change.apply(&gate);
        });
        let name = RepoFanout::crd_name();
        assert!(!Change::Unusable(name).apply(&gate));
        assert!(gate.open_since().is_none());
        assert_eq!(gate.ready(), Err(format!("{name} is too old")));
        assert!(Change::Usable(name).apply(&gate));
        assert!(gate.open_since().is_some());
    }

    #[test]
    fn readiness_needs_the_schema_and_the_caches_but_not_leadership() {
        let gate = Gate::default();
        let [_, sync, fanout, class] = all();
        for (change, missing) in [
            (None, Some("CustomResourceDefinition")),
            (Some(fanout), Some("CustomResourceDefinition")),
            (Some(class), Some("caches")),
            (Some(sync), None),
        ] {
            if let Some(change) = change {
                change.apply(&gate);
            }
            match missing {
                Some(missing) => assert!(gate.ready().unwrap_err().contains(missing)),
                None => assert_eq!(gate.ready(), Ok(())),
            }
        }
        assert!(gate.open_since().is_none());
    }
}
