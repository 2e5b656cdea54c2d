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
use kube::runtime::reflector::ObjectRef;
use serde::Deserialize;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;
use tracing::{debug, info, warn};

use crate::api::{RepoFanout, RepoFanoutClass};
use crate::cloud::{Message, Queues};
use crate::domain::kind::Resource;
use crate::resource::queue::VISIBILITY;
use crate::state::environment::{Context, Guarded, log_error};

/// How many events may be with passes at once; more wait in the queue.
const UNDER_WAY: usize = 200;
/// How many receipts are acknowledged in one call.
const BATCH: usize = 10;
/// How long receipts are gathered for that.
const GATHER: Duration = Duration::from_secs(1);
/// After how many failures in a row a queue counts as silent.
const PATIENCE: u32 = 3;

/// The queues that are listened to, by class.
#[derive(Default)]
pub struct Feeds(Mutex<HashMap<String, Feed>>);

struct Feed {
    queue: String,
    task: JoinHandle<()>,
    heeded: mpsc::UnboundedSender<String>,
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

/// What a queue tells.
pub enum Told {
    /// Messages of this class's queue.
    Messages(String, Vec<Message>),
    /// Nothing: the queue does not answer, or does so again.
    Silent(String, bool),
}

/// What is read of an event.
/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/detect-state-changes-cloudwatch-events.html>
#[derive(Deserialize)]
struct Event {
    account: String,
    region: String,
    detail: Detail,
}

#[derive(Deserialize)]
struct Detail {
    pipeline: String,
    state: String,
}

impl Feeds {
    /// Listens to the class's queue, if it is not listened to already.
    pub fn listen(
        &self,
        class: &str,
        queue: &str,
        queues: Arc<dyn Queues>,
        told: mpsc::Sender<Told>,
    ) {
        let mut feeds = self.0.lock().expect("no panic while held");
        if feeds.get(class).is_some_and(|feed| feed.queue == queue) {
            return;
        }
        let (heeded, receipts) = mpsc::unbounded_channel();
        let task = tokio::spawn(follow(
            class.to_owned(),
            queue.to_owned(),
            queues,
            told,
            receipts,
        ));
        info!(class, queue, "listening to execution events");
        let feed = Feed {
            queue: queue.to_owned(),
            task,
            heeded,
            interruptions: 0,
            silent: false,
        };
        feeds.insert(class.to_owned(), feed);
    }

    /// Listens no more.
    pub fn end(&self, class: &str) {
        self.0.lock().expect("no panic while held").remove(class);
    }

    /// Something between the pipelines and the queue was not as it is to be: events may be lost.
    pub fn interrupted(&self, class: &str) {
        if let Some(feed) = self.0.lock().expect("no panic while held").get_mut(class) {
            feed.interruptions += 1;
        }
    }

    /// How often the class's feed was interrupted; nothing if it tells nothing now.
    pub fn heard_of(&self, class: &RepoFanoutClass) -> Option<u64> {
        let feeds = self.0.lock().expect("no panic while held");
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
    pub fn heeded(&self, class: &str, receipts: Vec<String>) {
        if let Some(feed) = self.0.lock().expect("no panic while held").get(class) {
            for receipt in receipts {
                let _ = feed.heeded.send(receipt);
            }
        }
    }

    /// How many queues are listened to, and how many do not answer.
    pub fn counts(&self) -> BTreeMap<String, usize> {
        let feeds = self.0.lock().expect("no panic while held");
        let silent = feeds.values().filter(|feed| feed.silent).count();
        BTreeMap::from([
            ("listening".to_owned(), feeds.len() - silent),
            ("silent".to_owned(), silent),
        ])
    }

    /// Answers whether that is news.
    fn silent(&self, class: &str, silent: bool) -> bool {
        let mut feeds = self.0.lock().expect("no panic while held");
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
    told: mpsc::Sender<Told>,
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
                        let _ = told.send(Told::Silent(class.clone(), false)).await;
                    }
                    (failures, backoff) = (0, patient());
                    permit.forget();
                    room.add_permits(BATCH.saturating_sub(messages.len()));
                    if !messages.is_empty() {
                        let _ = told.send(Told::Messages(class.clone(), messages)).await;
                    }
                }
                Err(error) => {
                    log_error(&error);
                    failures += 1;
                    if failures == PATIENCE {
                        let _ = told.send(Told::Silent(class.clone(), true)).await;
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
                log_error(&error);
            }
            room.add_permits(batch.len());
            batch.clear();
        }
    };
    join(receive, acknowledge).await;
}

/// Hands on what the queues tell, for ever.
pub async fn dispatch(context: &Context, mut told: mpsc::Receiver<Told>) {
    while let Some(told) = told.recv().await {
        match told {
            Told::Messages(class, messages) => context.hear(&class, messages),
            Told::Silent(class, silent) => {
                if context.feeds.silent(&class, silent) {
                    let what = if silent {
                        "executions are looked at instead"
                    } else {
                        "executions are heard of again"
                    };
                    warn!(class, "the queue of execution events was silent: {what}");
                    context.silenced(&class);
                }
            }
        }
    }
}

impl Context {
    /// Has the objects that the messages are of look; what is of nobody is acknowledged at once.
    fn hear(&self, class: &str, messages: Vec<Message>) {
        let mut events: HashMap<String, Vec<(Event, String)>> = HashMap::new();
        let mut heeded = Vec::new();
        for Message { body, receipt } in messages {
            match serde_json::from_str::<Event>(&body) {
                Ok(event) => {
                    let Detail { pipeline, state } = &event.detail;
                    debug!(pipeline, state, "an execution was heard of");
                    events
                        .entry(pipeline.clone())
                        .or_default()
                        .push((event, receipt));
                }
                Err(error) => {
                    warn!(class, %error, "the queue of execution events holds something else; it \
                         is taken off");
                    heeded.push(receipt);
                }
            }
        }
        for served in self.served() {
            for guarded in served.store.state() {
                if events.is_empty() {
                    break;
                }
                let Ok(object) = &guarded.0 else { continue };
                let Some(place) = object.status.as_ref().and_then(|s| s.placement.as_ref()) else {
                    continue;
                };
                if place.class.as_deref() != Some(class) {
                    continue;
                }
                let Some(of_name) = events.get_mut(&place.base_name) else {
                    continue;
                };
                let here = |(event, _): &mut (Event, String)| {
                    event.account == place.account && event.region == place.region
                };
                let heard: Vec<(Event, String)> = of_name.extract_if(.., here).collect();
                if of_name.is_empty() {
                    events.remove(&place.base_name);
                }
                // The first execution comes with the pipeline that we have just made: there is
                // nothing to tell before its end.
                let first = object
                    .status
                    .as_ref()
                    .is_none_or(|s| s.last_execution.is_none());
                let (ignored, news): (Vec<_>, Vec<_>) = heard
                    .into_iter()
                    .partition(|(event, _)| first && event.detail.state == "STARTED");
                heeded.extend(ignored.into_iter().map(|(_, receipt)| receipt));
                if news.is_empty() {
                    continue;
                }
                for (_, receipt) in news {
                    self.memos.hear(&object.uid().unwrap_or_default(), receipt);
                }
                let _ = served
                    .wake
                    .send(ObjectRef::<Guarded<RepoFanout>>::from_obj(&guarded));
            }
        }
        // Of pipelines that are another class's, or nobody's any more.
        heeded.extend(events.into_values().flatten().map(|(_, receipt)| receipt));
        self.feeds.heeded(class, heeded);
    }

    /// The class looks at its queue, and its objects look for themselves.
    fn silenced(&self, class: &str) {
        if let Some(class) = self.class(class) {
            self.memos
                .looked(&class.uid().unwrap_or_default(), None, None);
        }
        self.wake_all();
    }
}
