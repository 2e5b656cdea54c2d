//! Receives execution events from the queues of classes.
//!
//! An event is only a hint: if it is lost, late, duplicated or out of order, it changes when an
//! object is observed, but not the result. It is acknowledged after a pass has handled it, so that
//! a crash loses none.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBuilder};
use futures::future::join;
use kube::ResourceExt;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tracing::info;

use crate::api::RepoFanoutClass;
use crate::cloud::{Message, Queues};
use crate::domain::kind::Resource;
use crate::resource::queue::VISIBILITY;

/// Number of events that passes may handle at once; more events wait in the queue.
const MAX_IN_FLIGHT: usize = 200;
/// Number of receipts that one call acknowledges.
const BATCH: usize = 10;
/// Time during which receipts are collected for one call.
const BATCH_WAIT: Duration = Duration::from_secs(1);
/// Number of failures in a row after which a queue counts as silent.
const SILENT_AFTER: u32 = 3;

/// The feeds of execution events, by class.
pub struct Feeds {
    by_class: Mutex<HashMap<String, Feed>>,
    sender: mpsc::Sender<FeedEvent>,
    receiver: Mutex<Option<mpsc::Receiver<FeedEvent>>>,
}

impl Default for Feeds {
    fn default() -> Self {
        let (sender, receiver) = mpsc::channel(1);
        Self {
            by_class: Mutex::default(),
            sender,
            receiver: Mutex::new(Some(receiver)),
        }
    }
}

struct Feed {
    queue: String,
    task: JoinHandle<()>,
    acknowledged: mpsc::UnboundedSender<String>,
    /// Number of interruptions. If it differs from the number at the last pass, events may have
    /// been lost.
    interruptions: u64,
    /// Whether the queue does not answer at present.
    silent: bool,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// An item from a feed.
pub enum FeedEvent {
    /// The queue of this class delivered messages.
    Messages(String, Vec<Message>),
    /// The queue of this class stopped answering (`true`) or answers again (`false`).
    Silent(String, bool),
}

impl Feeds {
    /// Returns the stream of all feeds to its first caller, and `None` afterwards.
    pub fn events(&self) -> Option<mpsc::Receiver<FeedEvent>> {
        self.receiver.lock().expect("no panic while held").take()
    }

    /// Starts to receive from the class's queue, unless it is received from already.
    pub fn listen(&self, class: &str, queue: &str, queues: Arc<dyn Queues>) {
        let mut feeds = self.by_class.lock().expect("no panic while held");
        if feeds.get(class).is_some_and(|feed| feed.queue == queue) {
            return;
        }
        let (acknowledged, receipts) = mpsc::unbounded_channel();
        let task = tokio::spawn(follow(
            class.to_owned(),
            queue.to_owned(),
            queues,
            self.sender.clone(),
            receipts,
        ));
        info!(class, queue, "receiving execution events");
        let feed = Feed {
            queue: queue.to_owned(),
            task,
            acknowledged,
            interruptions: 0,
            silent: false,
        };
        feeds.insert(class.to_owned(), feed);
    }

    /// Stops the feed of a class.
    pub fn end(&self, class: &str) {
        self.by_class
            .lock()
            .expect("no panic while held")
            .remove(class);
    }

    /// Records that a resource between the pipelines and the queue was missing or wrong, so that
    /// events may have been lost.
    pub fn interrupted(&self, class: &str) {
        if let Some(feed) = self
            .by_class
            .lock()
            .expect("no panic while held")
            .get_mut(class)
        {
            feed.interruptions += 1;
        }
    }

    /// Returns how often the class's feed was interrupted, or `None` if it delivers no events now.
    pub fn interruptions(&self, class: &RepoFanoutClass) -> Option<u64> {
        let feeds = self.by_class.lock().expect("no panic while held");
        match feeds.get(&class.name_any()) {
            Some(feed) => (!feed.silent).then_some(feed.interruptions),
            // Events that arrived after the previous process ended are still in the queue, and this
            // process will receive from it soon.
            None => {
                let made = class
                    .status
                    .as_ref()
                    .is_some_and(|s| s.resources.contains_key(Resource::EventRule.as_str()));
                (made && class.spec.execution_events.as_deref() != Some("Poll")).then_some(0)
            }
        }
    }

    /// Acknowledges events that a pass has handled.
    pub fn acknowledge(&self, class: &str, receipts: Vec<String>) {
        if let Some(feed) = self
            .by_class
            .lock()
            .expect("no panic while held")
            .get(class)
        {
            for receipt in receipts {
                let _ = feed.acknowledged.send(receipt);
            }
        }
    }

    /// Counts the queues that answer and those that do not.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let feeds = self.by_class.lock().expect("no panic while held");
        let silent = feeds.values().filter(|feed| feed.silent).count();
        BTreeMap::from([
            ("listening".to_owned(), feeds.len() - silent),
            ("silent".to_owned(), silent),
        ])
    }

    /// Records whether the queue answers. Returns whether that changed.
    pub fn set_silent(&self, class: &str, silent: bool) -> bool {
        let mut feeds = self.by_class.lock().expect("no panic while held");
        let Some(feed) = feeds.get_mut(class).filter(|feed| feed.silent != silent) else {
            return false;
        };
        feed.silent = silent;
        if !silent {
            feed.interruptions += 1;
        }
        true
    }
}

/// Receives and acknowledges messages until the task is aborted.
async fn follow(
    class: String,
    queue: String,
    queues: Arc<dyn Queues>,
    sender: mpsc::Sender<FeedEvent>,
    mut receipts: mpsc::UnboundedReceiver<String>,
) {
    let room = Semaphore::new(MAX_IN_FLIGHT);
    let receive = async {
        let mut failures = 0;
        let new_backoff = || {
            let builder = ExponentialBuilder::default().with_min_delay(Duration::from_secs(1));
            builder
                .with_max_delay(Duration::from_secs(60))
                .without_max_times()
                .with_jitter()
                .build()
        };
        let mut backoff = new_backoff();
        loop {
            let permit = match tokio::time::timeout(VISIBILITY * 2, room.acquire_many(BATCH as u32))
                .await
            {
                Ok(permit) => permit.expect("it is never closed"),
                Err(_) => {
                    // Messages that were not handled by now are delivered again.
                    room.add_permits(MAX_IN_FLIGHT - room.available_permits().min(MAX_IN_FLIGHT));
                    continue;
                }
            };
            match queues.receive(&queue).await {
                Ok(messages) => {
                    if failures >= SILENT_AFTER {
                        let _ = sender.send(FeedEvent::Silent(class.clone(), false)).await;
                    }
                    (failures, backoff) = (0, new_backoff());
                    permit.forget();
                    room.add_permits(BATCH.saturating_sub(messages.len()));
                    if !messages.is_empty() {
                        let _ = sender
                            .send(FeedEvent::Messages(class.clone(), messages))
                            .await;
                    }
                }
                Err(error) => {
                    error.log();
                    failures += 1;
                    if failures == SILENT_AFTER {
                        let _ = sender.send(FeedEvent::Silent(class.clone(), true)).await;
                    }
                    tokio::time::sleep(backoff.next().unwrap_or_default()).await;
                }
            }
        }
    };
    let acknowledge = async {
        let mut batch = Vec::with_capacity(BATCH);
        while receipts.recv_many(&mut batch, BATCH).await > 0 {
            let end = tokio::time::Instant::now() + BATCH_WAIT;
            while batch.len() < BATCH
                && let Ok(Some(receipt)) = tokio::time::timeout_at(end, receipts.recv()).await
            {
                batch.push(receipt);
            }
            if let Err(error) = queues.acknowledge(&queue, &batch).await {
                // The messages are delivered again.
                error.log();
            }
            room.add_permits(batch.len());
            batch.clear();
        }
    };
    join(receive, acknowledge).await;
}
