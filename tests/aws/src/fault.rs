//! Faults between the operator and AWS.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What happens to a call.
#[derive(Clone, Debug)]
pub enum Effect {
    /// The service answers with an error and does nothing.
    Fail {
        /// HTTP status.
        status: u16,
        /// The service's code.
        code: String,
        /// The service's words.
        message: String,
    },
    /// The call takes so much longer.
    Delay(Duration),
    /// The connection is cut before the service hears of the call.
    CutBefore,
    /// The service does the work, and the connection is cut before the answer.
    CutAfter,
    /// The process with this id is killed before the service hears of the call.
    KillBefore(u32),
    /// The service does the work, and the process is killed before the answer.
    KillAfter(u32),
}

/// Which of the matching calls are meant, counted from 1.
#[derive(Clone, Copy, Debug)]
pub enum When {
    /// Only the n-th.
    Nth(u32),
    /// The first n.
    First(u32),
    /// From the n-th on, so many.
    Run(u32, u32),
    /// All.
    Always,
}

/// A fault.
#[derive(Debug)]
pub struct Fault {
    account: String,
    operation: String,
    kind: Option<bool>,
    when: When,
    effect: Effect,
    seen: AtomicU32,
    struck: Arc<AtomicBool>,
}

impl Fault {
    /// Of one operation (such as `codepipeline:CreatePipeline`, or `*`) of one account.
    pub fn new(account: &str, operation: &str, when: When, effect: Effect) -> Self {
        Self {
            account: account.to_owned(),
            operation: operation.to_owned(),
            kind: None,
            when,
            effect,
            seen: AtomicU32::new(0),
            struck: Arc::default(),
        }
    }

    /// Of any call that writes.
    pub fn of_writes(account: &str, when: When, effect: Effect) -> Self {
        Self {
            kind: Some(true),
            ..Self::new(account, "*", when, effect)
        }
    }

    /// Of any call that only reads.
    pub fn of_reads(account: &str, when: When, effect: Effect) -> Self {
        Self {
            kind: Some(false),
            ..Self::new(account, "*", when, effect)
        }
    }

    /// Tells, now and later, whether it struck.
    pub fn struck(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.struck)
    }

    fn strikes(&self, account: &str, operation: &str, write: bool) -> bool {
        let matches = self.account == account
            && (self.operation == "*" || self.operation == operation)
            && self.kind.is_none_or(|kind| kind == write);
        if !matches {
            return false;
        }
        let count = self.seen.fetch_add(1, Ordering::SeqCst) + 1;
        let strikes = match self.when {
            When::Nth(n) => count == n,
            When::First(n) => count <= n,
            When::Run(n, many) => (n..n + many).contains(&count),
            When::Always => true,
        };
        if strikes {
            self.struck.store(true, Ordering::SeqCst);
        }
        strikes
    }
}

/// All faults.
#[derive(Default)]
pub struct Faults(Mutex<Vec<Fault>>);

impl Faults {
    /// Adds one.
    pub fn add(&self, fault: Fault) {
        self.0.lock().expect("no panic while held").push(fault);
    }

    /// Takes those of an account away.
    pub fn clear(&self, account: &str) {
        self.0
            .lock()
            .expect("no panic while held")
            .retain(|f| f.account != account);
    }

    /// What happens to this call.
    pub fn effect(&self, account: &str, operation: &str, write: bool) -> Option<Effect> {
        let faults = self.0.lock().expect("no panic while held");
        faults
            .iter()
            .find(|f| f.strikes(account, operation, write))
            .map(|f| f.effect.clone())
    }
}

/// Kills a process of the harness at once.
pub fn kill(pid: u32) {
    let _ = std::process::Command::new("kill")
        .args(["-9", &pid.to_string()])
        .status();
}
