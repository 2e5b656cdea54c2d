//! A budget of calls per account, region and API, which all workers share.

use std::num::NonZeroU32;
use std::sync::Arc;

use governor::clock::DefaultClock;
use governor::state::keyed::DefaultKeyedStateStore;
use governor::{Quota, RateLimiter};

type Key = (String, String, &'static str);
type Keyed = RateLimiter<Key, DefaultKeyedStateStore<Key>, DefaultClock>;

/// The budgets, by how many calls a second an API bears.
pub struct Limits {
    wide: Arc<Keyed>,
    narrow: Arc<Keyed>,
}

impl Default for Limits {
    fn default() -> Self {
        let keyed = |per_second: u32, burst: u32| {
            let number = |n| NonZeroU32::new(n).expect("not zero");
            Arc::new(RateLimiter::keyed(Quota::per_second(number(per_second)).allow_burst(number(burst))))
        };
        Self { wide: keyed(100, 100), narrow: keyed(10, 20) }
    }
}

impl Limits {
    /// Waits until the call is within its budget.
    ///
    /// SNS documents 10 a second for its tag calls; CodePipeline, the connections,
    /// the notifications and IAM publish none and throttle early.
    /// <https://docs.aws.amazon.com/general/latest/gr/sns.html>
    pub async fn ready(&self, account: &str, region: &str, call: &'static str) {
        let narrow = match call.split_once(':') {
            Some(("s3", _)) => false,
            Some(("sns", operation)) => operation.contains("Tag"),
            _ => true,
        };
        let limiter = if narrow { &self.narrow } else { &self.wide };
        limiter.until_key_ready(&(account.to_owned(), region.to_owned(), call)).await;
    }
}
