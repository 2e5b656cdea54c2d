//! `destination.prune`: whether files that are no longer in the repository are deleted.

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
        /// The condition lists the files that would be deleted.
        DryRun = "DryRun",
        /// The files are deleted.
        Enabled = "Enabled",
    }
}

/// The options of pruning, if the spec asks for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prune {
    /// Whether files are only listed, and not deleted.
    pub dry_run: bool,
    /// The limit for deletions after one execution.
    pub limit: Limit,
}

/// The limit for deletions after one execution: both parts have to allow them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Share of the keys that earlier deliveries wrote, in percent.
    pub percent: u32,
    /// Number of keys.
    pub objects: usize,
}

impl Prune {
    /// Parses the options; refuses them if the operator does not allow pruning.
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
                    "destination.prune: {} asks the operator to delete files, and the operator runs \
                         without --allow-prune (operator.allowPrune in the chart); leave prune out, \
                         or run the operator with that flag and with the IAM policy that \
                         `repofanout iam-policy --allow-prune` prints",
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
    /// Number of keys that may always be deleted, so that the percentage does not stop small
    /// repositories.
    const FEW: usize = 10;

    /// Whether this number of stale keys, of `all` that deliveries wrote, may be deleted.
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
