//! Kubernetes events: a repeated warning is counted on the one before it.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_controller::events::{Event, EventRecorder};
use kube::Client;
use kube::runtime::events::{EventType, Reporter};
use tracing::{info, warn};

/// A recorder searches all that it has published within ten minutes whenever it publishes. With ten
/// thousand objects that fail, several share that work.
const RECORDERS: usize = 32;

/// One Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether it is a `Warning`.
    pub warning: bool,
    /// Its reason.
    pub reason: String,
    /// Its note.
    pub note: String,
}

impl Notice {
    /// Something that went as it should.
    pub fn normal(reason: &str, note: String) -> Self {
        Self {
            warning: false,
            reason: reason.to_owned(),
            note,
        }
    }

    /// Something that a person should look at.
    pub fn warning(reason: &str, note: String) -> Self {
        Self {
            warning: true,
            reason: reason.to_owned(),
            note,
        }
    }
}

/// Publishes events.
pub struct Recorder {
    client: Client,
    reporter: Reporter,
    warnings: Vec<EventRecorder>,
}

impl Recorder {
    /// Reports under this controller's name.
    pub fn new(client: Client, controller: &str) -> Self {
        let controller = format!("repofanout.dev/{controller}");
        let reporter = Reporter {
            controller,
            instance: None,
        };
        let recorder = |_| EventRecorder::new(client.clone(), reporter.clone());
        let warnings = (0..RECORDERS).map(recorder).collect();
        Self {
            client,
            reporter,
            warnings,
        }
    }

    /// Publishes an event about an object. A warning is counted on the last one of its kind where
    /// they are alike. Normal events happen once, and nothing is kept of them. An event that is
    /// refused, as in a namespace that is going away, is no error.
    pub async fn publish<K>(&self, object: &K, notice: Notice)
    where
        K: kube::Resource<DynamicType = ()>,
    {
        let Notice {
            warning,
            reason,
            note,
        } = notice;
        info!(reason, note, "event");
        let event = Event {
            type_: if warning {
                EventType::Warning
            } else {
                EventType::Normal
            },
            reason,
            action: "Reconcile".to_owned(),
            note: Some(note),
            related: None,
        };
        let published = if warning {
            let mut hasher = DefaultHasher::new();
            object.meta().uid.hash(&mut hasher);
            self.warnings[hasher.finish() as usize % RECORDERS]
                .publish(object, &event)
                .await
        } else {
            let once = EventRecorder::new(self.client.clone(), self.reporter.clone());
            once.publish(object, &event).await
        };
        if let Err(error) = published {
            warn!(%error, "the event was not taken");
        }
    }
}
