//! Rate limit per account, region and API, which all workers share.
//!
//! It is a generic cell rate algorithm (ITU-T I.371). Its rate halves when AWS throttles, and grows
//! back to its ceiling while AWS does not.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

/// Rate limit per API, in calls per second, by prefix of the call's name. The longest prefix
/// applies.
///
/// SNS documents 30 calls per second for topics and 10 for tags. CodePipeline, connections,
/// notifications and IAM document no limit, and throttle early.
/// <https://docs.aws.amazon.com/general/latest/gr/sns.html>
const RATES: [(&str, f64); 6] = [
    ("codepipeline:", 5.0),
    ("s3:", 100.0),
    ("sns:", 30.0),
    ("sns:Tag", 10.0),
    ("sns:ListTags", 10.0),
    ("sqs:", 100.0),
];
/// Rate limit of every other API.
const OTHERWISE: f64 = 10.0;
/// Share of the rate limit that the operator uses; the rest is left to others in the account.
const SHARE: f64 = 0.9;
/// Share of the ceiling below which throttling does not lower the rate.
const FLOOR: f64 = 1.0 / 16.0;
/// Time in which the rate doubles after throttling.
const RECOVERY: Duration = Duration::from_secs(10);

/// Account, region and call.
type Key = (String, String, &'static str);

/// Rate limits of all accounts, regions and APIs.
#[derive(Default)]
pub struct Limits {
    ceilings: Vec<(String, f64)>,
    budgets: Mutex<HashMap<Key, Budget>>,
}

struct Budget {
    /// Highest rate and present rate, in calls per second.
    ceiling: f64,
    rate: f64,
    /// When the next call would be due if all calls were evenly spaced.
    next: Instant,
    changed: Instant,
}

impl Limits {
    /// Creates rate limits with ceilings that override the built-in ones, by prefix of the call's
    /// name. `*` matches every call.
    pub fn new(ceilings: Vec<(String, f64)>) -> Self {
        Self {
            ceilings,
            budgets: Mutex::default(),
        }
    }

    /// Waits until the rate limit permits the call.
    pub async fn ready(&self, account: &str, region: &str, call: &'static str) {
        let at = self.with(account, region, call, |budget, now| {
            budget.recover(now);
            let every = Duration::from_secs_f64(1.0 / budget.rate);
            let due = budget.next.max(now);
            budget.next = due + every;
            // One extra call is permitted at once after a pause.
            due.checked_sub(every).unwrap_or(now)
        });
        tokio::time::sleep_until(at).await;
    }

    /// Lowers the rate because AWS throttled the call.
    pub fn throttled(&self, account: &str, region: &str, call: &'static str) {
        self.with(account, region, call, |budget, now| {
            budget.recover(now);
            // Calls that were in flight together are throttled together, so they count once.
            if budget.rate >= budget.ceiling
                || now.duration_since(budget.changed) > Duration::from_secs(1)
            {
                budget.rate = (budget.rate / 2.0).max(budget.ceiling * FLOOR);
                budget.changed = now;
            }
        });
    }

    /// Returns the call to the budget, because AWS refused it for a quota that does not count
    /// calls.
    pub fn give_back(&self, account: &str, region: &str, call: &'static str) {
        self.with(account, region, call, |budget, now| {
            let every = Duration::from_secs_f64(1.0 / budget.rate);
            budget.next = budget.next.checked_sub(every).unwrap_or(now);
        });
    }

    fn with<T>(
        &self,
        account: &str,
        region: &str,
        call: &'static str,
        f: impl FnOnce(&mut Budget, Instant) -> T,
    ) -> T {
        let now = Instant::now();
        // IAM has one endpoint, and hence one limit, for all regions.
        let region = if call.starts_with("iam:") { "" } else { region };
        let mut budgets = self.budgets.lock().expect("no panic while held");
        let budget = budgets
            .entry((account.to_owned(), region.to_owned(), call))
            .or_insert_with(|| {
                let ceiling = self.ceiling(call);
                Budget {
                    ceiling,
                    rate: ceiling,
                    next: now,
                    changed: now,
                }
            });
        f(budget, now)
    }

    fn ceiling(&self, call: &str) -> f64 {
        let given = self
            .ceilings
            .iter()
            .map(|(name, rate)| (name.as_str(), *rate));
        let longest = |rates: &mut dyn Iterator<Item = (&str, f64)>| {
            rates
                .filter(|(name, _)| *name == "*" || call.starts_with(name))
                .max_by_key(|(name, _)| name.len())
                .map(|(_, rate)| rate)
        };
        let built_in = || longest(&mut RATES.into_iter()).unwrap_or(OTHERWISE) * SHARE;
        longest(&mut given.into_iter()).unwrap_or_else(built_in)
    }
}

impl Budget {
    fn recover(&mut self, now: Instant) {
        if self.rate < self.ceiling {
            let rested = now.duration_since(self.changed).as_secs_f64() / RECOVERY.as_secs_f64();
            self.rate = (self.rate * 2f64.powf(rested)).min(self.ceiling);
            self.changed = now;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CALL: &str = "codepipeline:CreatePipeline";

    /// Counts the calls that are permitted within `time`, on a paused clock.
    async fn within(limits: &Limits, region: &str, time: Duration) -> usize {
        let end = Instant::now() + time;
        let mut calls = 0;
        while tokio::time::timeout_at(end, limits.ready("1", region, CALL))
            .await
            .is_ok()
        {
            calls += 1;
        }
        calls
    }

    #[tokio::test(start_paused = true)]
    async fn a_budget_holds_its_rate_and_is_one_per_region() {
        let limits = Limits::default();
        let first = within(&limits, "r", Duration::from_secs(10)).await;
        assert!((45..=47).contains(&first), "{first}");
        let other = within(&limits, "other", Duration::from_secs(10)).await;
        assert_eq!(other, first);
        let ours = Limits::new(vec![("*".into(), 1.0), ("codepipeline".into(), 2.0)]);
        let slower = within(&ours, "r", Duration::from_secs(10)).await;
        assert!((20..=22).contains(&slower), "{slower}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_throttled_budget_shrinks_once_a_second_and_grows_back() {
        let limits = Limits::default();
        within(&limits, "r", Duration::from_secs(10)).await;
        for _ in 0..10 {
            limits.throttled("1", "r", CALL);
        }
        let shrunk = within(&limits, "r", Duration::from_secs(2)).await;
        assert!((4..=7).contains(&shrunk), "{shrunk}");
        within(&limits, "r", Duration::from_secs(20)).await;
        let back = within(&limits, "r", Duration::from_secs(10)).await;
        assert!((44..=46).contains(&back), "{back}");
    }

    #[tokio::test(start_paused = true)]
    async fn what_a_quota_refuses_does_not_spend_the_budget() {
        let limits = Limits::default();
        let end = Instant::now() + Duration::from_secs(1);
        for _ in 0..1000 {
            limits.ready("1", "r", CALL).await;
            limits.give_back("1", "r", CALL);
        }
        assert!(Instant::now() < end);
    }
}
