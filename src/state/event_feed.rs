//! Events of executions: from a class's queue to the objects that they are of.
//!
//! An event is a hint to look, and nothing else: lost, late, doubled or out of order, it changes
//! when an object is looked at, not what is found. It is acknowledged once a pass has looked, so
//! that a crash loses none.

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

/// How many events may be with passes at once; more wait in the queue.
const UNDER_WAY: usize = 200;
/// How many receipts are acknowledged in one call.
const BATCH: usize = 10;
/// How long receipts are gathered for that.
const GATHER: Duration = Duration::from_secs(1);
/// After how many failures in a row a queue counts as silent.
const PATIENCE: u32 = 3;

/// The queues that are listened to, by class.
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
    /// Counts interruptions: whoever has seen another number may have missed something.
    interruptions: u64,
    /// Whether nothing is heard at present.
    silent: bool,
}

impl Drop for Feed {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What a queue brings.
pub enum FeedEvent {
    /// Messages of this class's queue.
    Messages(String, Vec<Message>),
    /// Nothing: the queue does not answer, or does so again.
    Silent(String, bool),
}

impl Feeds {
    /// What the queues bring, for the one who hands it on; nothing if somebody does already.
    pub fn events(&self) -> Option<mpsc::Receiver<FeedEvent>> {
        self.receiver.lock().expect("no panic while held").take()
    }

    /// Listens to the class's queue, if it is not listened to already.
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
        info!(class, queue, "listening to execution events");
        let feed = Feed {
            queue: queue.to_owned(),
            task,
            acknowledged,
            interruptions: 0,
            silent: false,
        };
        feeds.insert(class.to_owned(), feed);
    }

    /// Listens no more.
    pub fn end(&self, class: &str) {
        self.by_class
            .lock()
            .expect("no panic while held")
            .remove(class);
    }

    /// Something between the pipelines and the queue was not as it is to be: events may be lost.
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

    /// How often the class's feed was interrupted; nothing if it tells nothing now.
    pub fn interruptions(&self, class: &RepoFanoutClass) -> Option<u64> {
        let feeds = self.by_class.lock().expect("no panic while held");
        match feeds.get(&class.name_any()) {
            Some(feed) => (!feed.silent).then_some(feed.interruptions),
            // What came since the process before ended is in the queue, and is listened to soon.
            None => {
                let made = class
                    .status
                    .as_ref()
                    .is_some_and(|s| s.resources.contains_key(Resource::EventRule.as_str()));
                (made && class.spec.execution_events.as_deref() != Some("Poll")).then_some(0)
            }
        }
    }

    /// These events of the class were looked into.
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

    /// How many queues are listened to, and how many do not answer.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let feeds = self.by_class.lock().expect("no panic while held");
        let silent = feeds.values().filter(|feed| feed.silent).count();
        BTreeMap::from([
            ("listening".to_owned(), feeds.len() - silent),
            ("silent".to_owned(), silent),
        ])
    }

    /// Answers whether that is news.
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

/// Receives and acknowledges, as long as it is let.
async fn follow(
    class: String,
    queue: String,
    queues: Arc<dyn Queues>,
    sender: mpsc::Sender<FeedEvent>,
    mut receipts: mpsc::UnboundedReceiver<String>,
) {
    let room = Semaphore::new(UNDER_WAY);
    let receive = async {
        let mut failures = 0;
        let patient = || {
            let builder = ExponentialBuilder::default().with_min_delay(Duration::from_secs(1));
            builder
                .with_max_delay(Duration::from_secs(60))
                .without_max_times()
                .with_jitter()
                .build()
        };
        let mut backoff = patient();
        loop {
            let permit =
                match tokio::time::timeout(VISIBILITY * 2, room.acquire_many(BATCH as u32)).await {
                    Ok(permit) => permit.expect("it is never closed"),
                    Err(_) => {
                        // What nobody has looked into by now comes again.
                        room.add_permits(UNDER_WAY - room.available_permits().min(UNDER_WAY));
                        continue;
                    }
                };
            match queues.receive(&queue).await {
                Ok(messages) => {
                    if failures >= PATIENCE {
                        let _ = sender.send(FeedEvent::Silent(class.clone(), false)).await;
                    }
                    (failures, backoff) = (0, patient());
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
                    if failures == PATIENCE {
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
            let end = tokio::time::Instant::now() + GATHER;
            while batch.len() < BATCH
                && let Ok(Some(receipt)) = tokio::time::timeout_at(end, receipts.recv()).await
            {
                batch.push(receipt);
            }
            if let Err(error) = queues.acknowledge(&queue, &batch).await {
                // They come again.
                error.log();
            }
            room.add_permits(batch.len());
            batch.clear();
        }
    };
    join(receive, acknowledge).await;
}
