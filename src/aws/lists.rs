//! Shared lists: all callers that need a list at the same time share one request, and the result is
//! cached for as long as each caller accepts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use crate::cloud::Result;

/// A list, and when it was requested.
pub struct Listed<T> {
    kept: Mutex<Option<(Instant, u64, Arc<T>)>>,
    changes: AtomicU64,
}

impl<T> Default for Listed<T> {
    fn default() -> Self {
        Self {
            kept: Mutex::new(None),
            changes: AtomicU64::new(0),
        }
    }
}

impl<T> Listed<T> {
    /// Returns a list that is not older than `age`, nor than our last change of its items.
    pub async fn get(&self, age: Duration, ask: impl Future<Output = Result<T>>) -> Result<Arc<T>> {
        // A caller that arrives during the request waits for the same response.
        let mut kept = self.kept.lock().await;
        let changes = self.changes.load(Ordering::SeqCst);
        if let Some((at, of, list)) = &*kept
            && *of == changes
            && at.elapsed() <= age
        {
            return Ok(Arc::clone(list));
        }
        let at = Instant::now();
        let list = Arc::new(ask.await?);
        *kept = Some((at, changes, Arc::clone(&list)));
        Ok(list)
    }

    /// Invalidates the list because we are changing its items: a cached or pending response may
    /// lack the change.
    pub fn changed(&self) {
        self.changes.fetch_add(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_list_is_asked_for_once_until_it_is_old_or_changed() {
        let listed = Listed::default();
        let asked = AtomicU64::new(0);
        let get = |age| listed.get(age, async { Ok(asked.fetch_add(1, Ordering::SeqCst)) });
        let hour = Duration::from_secs(3600);
        let (a, b) = tokio::join!(get(hour), get(hour));
        assert_eq!((*a.unwrap(), *b.unwrap()), (0, 0));
        listed.changed();
        assert_eq!(*get(hour).await.unwrap(), 1);
        assert_eq!(*get(Duration::ZERO).await.unwrap(), 2);
    }
}
