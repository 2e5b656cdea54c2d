//! Publishes Kubernetes events. A repeated warning increases the count of the event before it.

use std::hash::{DefaultHasher, Hash, Hasher};

use k8s_controller::events::{Event, EventRecorder};
use kube::Client;
use kube::runtime::events::{EventType, Reporter};
use tracing::{info, warn};

/// Number of recorders that share the work. Whenever a recorder publishes, it searches all events
/// that it published within ten minutes, which is slow with ten thousand failing objects.
const RECORDERS: usize = 32;

/// One Kubernetes event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Notice {
    /// Whether the event is a `Warning`.
    pub warning: bool,
    /// Reason of the event.
    pub reason: String,
    /// Note of the event.
    pub note: String,
}

impl Notice {
    /// Creates an event about something that went as expected.
    pub fn normal(reason: &str, note: String) -> Self {
        Self {
            warning: false,
            reason: reason.to_owned(),
            note,
        }
    }

    /// Creates an event about something that a person should check.
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
    /// Creates a recorder that reports under this controller's name.
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

    /// Publishes an event about an object. A warning increases the count of the last one if both
    /// are alike. A normal event is published once and not remembered. If the API server refuses
    /// the event, as in a namespace that is being deleted, the refusal is only logged.
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
            warn!(%error, "the API server rejected the event");
        }
    }
}
