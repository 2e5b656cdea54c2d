//! The target of one pass over a fan-out.

use jiff::Timestamp;

use crate::api::RepoFanoutClass;
use crate::cloud::Cloud;
use crate::cloud::advice::Parties;
use crate::domain;
use crate::domain::arn;
use crate::domain::computed::{Computed, topic_arn};
use crate::domain::kind::Resource;
use crate::domain::owner::Tags;
use crate::domain::placement::Placement;
use crate::domain::settings::Identity;
use crate::domain::word::Word;
use crate::resource::Desired;
use crate::resource::connection::{ConnectionState, ObservedConnection};
use crate::spec::class::Class;
use crate::spec::fanout::Fanout;
use crate::spec::source::{ConnectionSource, Source};
use crate::state::catalog::{ClassKey, Known};
use crate::state::memory::Basis;

/// Inputs of a pass besides its object. They are read once, so that all phases use the same.
pub struct Inputs {
    /// When the pass began.
    pub now: Timestamp,
    /// The object's class, if it has a usable one.
    pub class: Option<Known>,
    /// The inputs other than AWS, to be compared at the next pass.
    pub basis: Basis,
    /// Receipts of the execution events that arrived since the last pass.
    pub receipts: Vec<String>,
}

/// The target of a pass: the parsed object, its placement, and access to AWS there.
pub struct Target {
    /// When the pass began.
    pub now: Timestamp,
    /// The parsed object.
    pub fanout: Fanout,
    /// Placement of its resources.
    pub place: Placement,
    /// Whether the resources may be placed there now. A read-only operator places none.
    pub placed: bool,
    /// Names and ARNs that are computed from the placement.
    pub names: Computed,
    /// AWS in that account and region.
    pub cloud: Cloud,
    /// Resources that its class shares with it.
    pub shared: Shared,
    /// Key of the class when the pass began.
    pub class: Option<ClassKey>,
    /// The feed that delivers its execution events. Without one, executions are polled.
    pub feed: Option<u64>,
    /// Whether an execution event arrived since the last pass.
    pub notified: bool,
}

impl Target {
    /// Returns the name of the pipeline.
    pub fn pipeline(&self) -> &str {
        &self.names.base
    }

    /// Returns the parties of calls for the object.
    pub fn parties(&self, operator: &Identity) -> Parties {
        let Self {
            fanout,
            place,
            names,
            shared,
            ..
        } = self;
        let mut parties = Parties::new(fanout.access.as_ref(), operator);
        let connection = match &fanout.connection {
            ConnectionSource::Existing(arn) => Some(arn.clone()),
            ConnectionSource::Provider(_)
            | ConnectionSource::Host(_)
            | ConnectionSource::Shared(_) => shared.connection.as_ref().map(|c| c.arn.clone()),
        };
        let topic = match &fanout.notifications.topic {
            Source::Own(name) => name.as_ref().map(|name| topic_arn(place, name)),
            Source::Existing(arn) | Source::Shared(arn) => Some(arn.clone()),
        };
        let bucket = |name: &str| arn::bucket(&place.partition, name);
        let boundary = fanout.permissions_boundary.as_ref();
        parties.arns.extend([
            names.role_arn.clone(),
            names.pipeline_arn.clone(),
            names.topic_arn.clone(),
            bucket(fanout.destination.name(&names.destination)),
            bucket(fanout.artifacts.name(&names.artifacts)),
        ]);
        let boundary = boundary.map(|name| arn::policy(&place.partition, &place.account, name));
        let key = fanout.kms_key.clone();
        let role = fanout.shared_role.clone();
        let more = [connection, topic, boundary, key, role];
        parties.arns.extend(more.into_iter().flatten());
        parties
    }

    /// Returns the desired resources, given the ARN of the connection.
    pub fn desire(&self, connection_arn: Option<&str>) -> Desired {
        Desired::new(&self.fanout, &self.place, connection_arn)
    }

    /// Returns the source and destination of the desired pipeline.
    pub fn copy(&self) -> Option<domain::execution::Target> {
        self.desire(Some("")).target()
    }
}

/// Resources of a class that a fan-out uses.
#[derive(Default)]
pub struct Shared {
    /// The connection, if the fan-out has none of its own.
    pub connection: Option<ObservedConnection>,
    /// When the shared destination bucket was created.
    pub destination_created_at: Option<jiff::Timestamp>,
    /// When the permissions of the shared role were last written.
    pub permissions_written_at: Option<jiff::Timestamp>,
}

impl Shared {
    /// Returns the class's resources for the fan-out, or a message about the one that does not
    /// exist yet.
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
