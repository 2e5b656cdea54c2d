//! `destination.prune`: whether and how files go that are no longer in the repository.

use crate::api::condition::Reason;
use crate::api::repofanout::PruneLimitSpec;
use crate::domain::refusal::{Refusal, known_or};
use crate::domain::settings::Settings;
use crate::domain::word::{Word, words};

words! {
    /// `destination.prune`.
    Mode {
        /// Nothing is deleted.
        Disabled = "Disabled",
        /// It is only told what would be deleted.
        DryRun = "DryRun",
        /// It is deleted.
        Enabled = "Enabled",
    }
}

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
    /// The share of what earlier deliveries put there, in percent.
    pub percent: u32,
    /// The number of keys.
    pub objects: usize,
}

impl Prune {
    /// What the object asks for, where objects may ask for it.
    pub fn parse(
        settings: &Settings,
        mode: Option<&str>,
        limit: PruneLimitSpec,
    ) -> Result<Option<Self>, Refusal> {
        let mode = known_or("destination.prune", mode, Mode::Disabled)?;
        if mode == Mode::Disabled {
            return Ok(None);
        }
        if !settings.allow_prune {
            return Err(Refusal::new(
                Reason::NotAllowed,
                format!(
                    "destination.prune: {} has the operator delete files, and it does not run \
                         with --allow-prune (operator.allowPrune in the chart); have it run so, \
                         with the policy that `repofanout iam-policy --allow-prune` prints, or \
                         leave prune out",
                    mode.as_str()
                ),
            ));
        }
        let number = |given: Option<i32>, default: i32| given.unwrap_or(default).unsigned_abs();
        let limit = Limit {
            percent: number(limit.percent, 50),
            objects: number(limit.objects, 10_000) as usize,
        };
        Ok(Some(Self {
            dry_run: mode == Mode::DryRun,
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_limit_is_a_share_and_a_number_and_lets_a_few_go() {
        let limit = Limit {
            percent: 50,
            objects: 100,
        };
        assert!(limit.allows(10, 10) && limit.allows(50, 100) && limit.allows(0, 0));
        assert!(!limit.allows(51, 100) && !limit.allows(101, 10_000));
    }
}
