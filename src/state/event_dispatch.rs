//! Dispatches execution events from the queues to the objects whose pipelines they concern.

use std::collections::HashMap;

use kube::ResourceExt;
use kube::runtime::reflector::ObjectRef;
use serde::Deserialize;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use crate::api::RepoFanout;
use crate::cloud::Message;
use crate::state::environment::Environment;
use crate::state::event_feed::FeedEvent;
use crate::state::fleet::Guarded;

/// The fields of an event that are used.
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

/// An event and the receipt that acknowledges it.
struct Received {
    event: Event,
    receipt: String,
}

/// Dispatches the items of all feeds, for ever.
pub async fn dispatch(env: &Environment, mut events: mpsc::Receiver<FeedEvent>) {
    while let Some(event) = events.recv().await {
        match event {
            FeedEvent::Messages(class, messages) => dispatch_messages(env, &class, messages),
            FeedEvent::Silent(class, silent) if env.feeds.set_silent(&class, silent) => {
                let polling = if silent {
                    "does not answer: executions are polled"
                } else {
                    "answers again: executions are not polled"
                };
                warn!(class, "the queue of execution events {polling} from now on");
                observe_all(env, &class);
            }
            FeedEvent::Silent(..) => {}
        }
    }
}

/// Wakes the objects that the messages concern. Messages that concern no object are acknowledged at
/// once.
fn dispatch_messages(env: &Environment, class: &str, messages: Vec<Message>) {
    let mut by_pipeline: HashMap<String, Vec<Received>> = HashMap::new();
    let mut acknowledged = Vec::new();
    for Message { body, receipt } in messages {
        match serde_json::from_str::<Event>(&body) {
            Ok(event) => {
                let Detail { pipeline, state } = &event.detail;
                debug!(pipeline, state, "execution event");
                let of_pipeline = by_pipeline.entry(pipeline.clone()).or_default();
                of_pipeline.push(Received { event, receipt });
            }
            Err(error) => {
                warn!(class, %error, "a message in the queue of execution events is not an event; it \
                     is removed");
                acknowledged.push(receipt);
            }
        }
    }
    for served in env.fleet.served() {
        for guarded in served.store.state() {
            if by_pipeline.is_empty() {
                break;
            }
            let Ok(object) = &guarded.0 else { continue };
            let received = take_events_of(&mut by_pipeline, class, object);
            // A new pipeline starts its first execution by itself. There is nothing to observe
            // before that execution ends.
            let first = object
                .status
                .as_ref()
                .is_none_or(|s| s.last_execution.is_none());
            let ignore = |r: &Received| first && r.event.detail.state == "STARTED";
            let (ignored, due): (Vec<_>, Vec<_>) = received.into_iter().partition(ignore);
            acknowledged.extend(ignored.into_iter().map(|r| r.receipt));
            if due.is_empty() {
                continue;
            }
            for Received { receipt, .. } in due {
                env.memory.event(&object.uid().unwrap_or_default(), receipt);
            }
            let _ = served
                .wake
                .send(ObjectRef::<Guarded<RepoFanout>>::from_obj(&guarded));
        }
    }
    // The remaining events concern pipelines of another class, or of deleted objects.
    acknowledged.extend(by_pipeline.into_values().flatten().map(|r| r.receipt));
    env.feeds.acknowledge(class, acknowledged);
}

/// Removes and returns the events of the object's pipeline.
fn take_events_of(
    by_pipeline: &mut HashMap<String, Vec<Received>>,
    class: &str,
    object: &RepoFanout,
) -> Vec<Received> {
    let status = object.status.as_ref();
    let Some(place) = status.and_then(|s| s.placement.as_ref()) else {
        return Vec::new();
    };
    if place.class.as_deref() != Some(class) {
        return Vec::new();
    }
    let Some(of_name) = by_pipeline.get_mut(&place.base_name) else {
        return Vec::new();
    };
    let here =
        |r: &mut Received| r.event.account == place.account && r.event.region == place.region;
    let events = of_name.extract_if(.., here).collect();
    if of_name.is_empty() {
        by_pipeline.remove(&place.base_name);
    }
    events
}

/// Makes the class observe its queue, and its objects observe their executions.
fn observe_all(env: &Environment, class: &str) {
    if let Some(class) = env.catalog.class(class) {
        env.memory
            .observed(&class.uid().unwrap_or_default(), None, None);
    }
    env.wake_all();
}
