//! Faults that strike at the n-th call, and the two sides at which they strike.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use support::API;
use support::aws::{Effect, Fault, When};

use crate::case::Case;

/// Whose calls the fault strikes at, the number of the call, and the operator's process id.
type At<'a> = (&'a str, u32, u32);

/// A fault that strikes at the n-th call.
#[derive(Clone, Copy)]
pub struct Strike {
    /// Part of the names of namespaces.
    pub name: &'static str,
    fault: fn(At<'_>) -> Fault,
}

pub const KILL_BEFORE: Strike = Strike {
    name: "kill-b",
    fault: |(whose, n, pid)| Fault::of_writes(whose, When::Nth(n), Effect::KillBefore(pid)),
};

pub const KILL_AFTER: Strike = Strike {
    name: "kill-a",
    fault: |(whose, n, pid)| Fault::of_writes(whose, When::Nth(n), Effect::KillAfter(pid)),
};

pub const LOSE_THE_REPLY: Strike = Strike {
    name: "lost",
    fault: |(whose, n, _)| Fault::of_writes(whose, When::Nth(n), Effect::CutAfter),
};

/// More failures in a row than the SDK retries.
const A_WHILE: u32 = 4;

pub const FAIL_FOR_A_WHILE: Strike = Strike {
    name: "fail",
    fault: |(whose, n, _)| Fault::of_writes(whose, When::Run(n, A_WHILE), unavailable()),
};

pub const FAIL_READS_FOR_A_WHILE: Strike = Strike {
    name: "read",
    fault: |(whose, n, _)| Fault::of_reads(whose, When::Run(n, A_WHILE), unavailable()),
};

fn unavailable() -> Effect {
    Effect::Fail {
        status: 503,
        code: "ServiceUnavailable".to_owned(),
        message: "for a while".to_owned(),
    }
}

/// The other side of the calls that the fault strikes at.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Side {
    Aws,
    Kubernetes,
}

impl Side {
    /// Part of the names of namespaces.
    pub fn prefix(self) -> &'static str {
        match self {
            Self::Aws => "",
            Self::Kubernetes => "api-",
        }
    }

    /// Arms the fault; answers whether it struck, now and later.
    pub fn arm(self, case: &Case, strike: Strike, n: u32) -> Arc<AtomicBool> {
        let pid = case.operator.as_ref().expect("an operator").id();
        let whose = match self {
            Self::Aws => &*case.account,
            Self::Kubernetes => API,
        };
        let fault = (strike.fault)((whose, n, pid));
        let struck = fault.struck();
        match self {
            Self::Aws => case.aws().fault(fault),
            Self::Kubernetes => case.proxy.as_ref().expect("a proxy").faults.add(fault),
        }
        struck
    }
}

/// Disarms the faults of both sides.
pub fn disarm(case: &Case) {
    case.aws().clear_faults(&case.account);
    case.proxy.as_ref().expect("a proxy").faults.clear(API);
}
