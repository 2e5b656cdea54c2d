//! Whether passes may run in this process.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use kube::CustomResourceExt;

use crate::api::{RepoFanout, RepoFanoutClass};

/// Whether passes may run: in the process that leads, once its caches are filled, and while the
/// cluster's schema is not older than the program's. A pass goes by all objects: a class that knows
/// only some of its fan-outs would let go of what the others use.
#[derive(Default)]
pub struct Gate(Mutex<State>);

struct State {
    leads: bool,
    /// Whether the caches are filled.
    synced: bool,
    /// What keeps the schema from being used, by CustomResourceDefinition; nothing of one that can
    /// be.
    schema: BTreeMap<&'static str, Option<String>>,
    /// Since when passes may run.
    open_since: Option<Instant>,
}

impl Default for State {
    fn default() -> Self {
        let names = [RepoFanout::crd_name(), RepoFanoutClass::crd_name()];
        let waiting = |name| {
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
            schema: names.map(waiting).into(),
            open_since: None,
        }
    }
}

impl Gate {
    /// Whether passes may run, and since when.
    pub fn open_since(&self) -> Option<Instant> {
        self.0.lock().expect("no panic while held").open_since
    }

    /// This process leads from now on. Answers whether the gate has opened by that.
    pub fn lead(&self) -> bool {
        self.change(|state| state.leads = true)
    }

    /// The caches are filled. Answers whether the gate has opened by that.
    pub fn synced(&self) -> bool {
        self.change(|state| state.synced = true)
    }

    /// What keeps the schema of a resource from being used. Answers whether the gate has opened by
    /// that.
    pub fn schema(&self, name: &'static str, wrong: Option<String>) -> bool {
        self.change(|state| {
            state.schema.insert(name, wrong);
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

    /// What keeps this process from following the cluster, in one line.
    ///
    /// # Errors
    /// One line that says what is missing.
    pub fn ready(&self) -> Result<(), String> {
        let state = self.0.lock().expect("no panic while held");
        match state.schema.values().flatten().next() {
            Some(wrong) => Err(wrong.clone()),
            None if !state.synced => Err("starting: the caches are being filled".to_owned()),
            None => Ok(()),
        }
    }
}
