//! What one pass over a fan-out is about.

use jiff::Timestamp;

use crate::api::RepoFanoutClass;
use crate::cloud::Cloud;
use crate::domain;
use crate::domain::computed::Computed;
use crate::domain::kind::Resource;
use crate::domain::owner::Tags;
use crate::domain::placement::Placement;
use crate::domain::word::Word;
use crate::resource::Desired;
use crate::resource::connection::{ConnectionState, ObservedConnection};
use crate::spec::class::Class;
use crate::spec::fanout::Fanout;
use crate::spec::source::{ConnectionSource, Source};
use crate::state::catalog::{ClassKey, Known};
use crate::state::memory::Basis;

/// What a pass begins with, beside its object: taken once, so that all phases see the same.
pub struct Inputs {
    /// When the pass began.
    pub now: Timestamp,
    /// The object's class, if it has one that can be used.
    pub class: Option<Known>,
    /// What the pass rests on beside AWS.
    pub basis: Basis,
    /// Receipts of the execution events that came since the last pass.
    pub receipts: Vec<String>,
}

/// What one pass is about: the object as parsed, its place, and how AWS is reached there.
pub struct Target {
    /// When the pass began.
    pub now: Timestamp,
    /// What the object asks for.
    pub fanout: Fanout,
    /// Where its resources are, or are to be.
    pub place: Placement,
    /// Whether they may be placed there now. An operator that may not write places nothing.
    pub placed: bool,
    /// Names and ARNs that follow from the place.
    pub names: Computed,
    /// AWS in that account and region.
    pub cloud: Cloud,
    /// What its class has made for it.
    pub shared: Shared,
    /// The class, as it was when the pass began.
    pub class: Option<ClassKey>,
    /// Which feed brings its execution events; they are polled for if none does.
    pub feed: Option<u64>,
    /// Whether an execution event came since the last pass.
    pub notified: bool,
}

impl Target {
    /// The name of its pipeline.
    pub fn pipeline(&self) -> &str {
        &self.names.base
    }

    /// What is to be in AWS, given the ARN of the connection.
    pub fn desire(&self, connection_arn: Option<&str>) -> Desired {
        Desired::new(&self.fanout, &self.place, connection_arn)
    }

    /// What the pipeline is to copy from where to where.
    pub fn copy(&self) -> Option<domain::execution::Target> {
        self.desire(Some("")).target()
    }
}

/// What a class has made that a fan-out uses.
#[derive(Default)]
pub struct Shared {
    /// The connection, if the fan-out has none of its own.
    pub connection: Option<ObservedConnection>,
    /// When the shared destination bucket was made.
    pub destination_created_at: Option<jiff::Timestamp>,
    /// When the shared role's permissions were last written.
    pub permissions_written_at: Option<jiff::Timestamp>,
}

impl Shared {
    /// What the class has for the fan-out, or what it has not made yet.
    pub fn of(object: &RepoFanoutClass, class: &Class, fanout: &Fanout) -> Result<Self, String> {
        let status = object.status.clone().unwrap_or_default();
        let name = &class.name;
        let uses = [
            (
                Resource::Artifacts,
                matches!(fanout.artifacts, Source::Shared(_)),
            ),
            (
                Resource::Destination,
                matches!(fanout.destination, Source::Shared(_)),
            ),
            (
                Resource::Topic,
                matches!(fanout.notifications.topic, Source::Shared(_)),
            ),
            (Resource::Role, fanout.shared_role.is_some()),
        ];
        let mut missing = uses
            .iter()
            .filter(|(r, used)| *used && !status.resources.contains_key(r.as_str()));
        if let Some((resource, _)) = missing.next() {
            return Err(format!(
                "RepoFanoutClass {name} has not made its {resource} yet; its conditions say why"
            ));
        }
        let connection = match &fanout.connection {
            ConnectionSource::Shared(key) => {
                let known = status.connections.get(key);
                let (Some(arn), Some(state)) = (
                    known.and_then(|c| c.arn.clone()),
                    known.and_then(|c| c.status.clone()),
                ) else {
                    return Err(format!(
                        "RepoFanoutClass {name} has not made connection '{key}' yet; its \
                             conditions say why"
                    ));
                };
                let provider = match class.connections.get(key).map(|c| &c.source) {
                    Some(ConnectionSource::Provider(provider)) => provider.as_str().to_owned(),
                    _ => String::new(),
                };
                Some(ObservedConnection {
                    arn,
                    name: key.clone(),
                    state: ConnectionState::parse(&state),
                    provider,
                    tags: Tags::new(),
                })
            }
            _ => None,
        };
        let shares_destination = matches!(fanout.destination, Source::Shared(_));
        Ok(Self {
            connection,
            destination_created_at: status.destination_created_at.filter(|_| shares_destination),
            permissions_written_at: status
                .permissions_written_at
                .filter(|_| fanout.shared_role.is_some()),
        })
    }
}
