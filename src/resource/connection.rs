//! The connection to the repository's provider. It costs a person's click, so that one that was
//! authorized is never lost.

use serde_json::{Value, json};

use crate::api::condition::Reason;
use crate::domain::kind::Resource;
use crate::domain::owner::{Owner, Tags};
use crate::domain::refusal::Refusal;
use crate::domain::word::Word;
use crate::resource::delta::{Delta, retagged};
use crate::resource::managed::{Change, Common, Facts, Managed, Planned, Wanted};
use crate::resource::retention::Retention;
use crate::resource::scope::{Scope, allow, allow_if, both};
use crate::spec::source::{ConnectionSource, Provider};

/// An own connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// Its name, 32 characters at most.
    pub name: String,
    /// The provider, unless the host decides it.
    pub provider: Option<Provider>,
    /// The host's ARN.
    pub host_arn: Option<String>,
    /// Our tags.
    pub tags: Tags,
}

/// Statuses of a connection.
/// <https://docs.aws.amazon.com/codestar-connections/latest/APIReference/API_Connection.html>
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionState {
    /// A person has to authorize it.
    Pending,
    /// It works.
    Available,
    /// The provider refuses it; AWS tries again by itself.
    Error,
}

impl ConnectionState {
    /// From AWS's word; one that is not known is no authorization.
    pub fn parse(word: &str) -> Self {
        match word {
            "AVAILABLE" => Self::Available,
            "PENDING" => Self::Pending,
            _ => Self::Error,
        }
    }

    /// AWS's word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Available => "AVAILABLE",
            Self::Error => "ERROR",
        }
    }
}

/// A connection as it is found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObservedConnection {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// Its status.
    pub state: ConnectionState,
    /// Its provider, such as `GitHub`.
    pub provider: String,
    /// All its tags.
    pub tags: Tags,
}

impl Connection {
    /// The found state once it is made with these tags.
    pub fn created(&self, arn: String, tags: Tags) -> ObservedConnection {
        ObservedConnection {
            arn,
            name: self.name.clone(),
            state: ConnectionState::Pending,
            provider: self.provider.map_or("", Word::as_str).to_owned(),
            tags,
        }
    }
}

impl Managed for Connection {
    type Found = ObservedConnection;

    fn label(&self) -> &str {
        &self.name
    }

    fn tags(&self) -> &Tags {
        &self.tags
    }

    fn tags_mut(&mut self) -> &mut Tags {
        &mut self.tags
    }

    fn found_tags(found: &ObservedConnection) -> &Tags {
        &found.tags
    }

    fn called(&self, found: &ObservedConnection) -> String {
        found.arn.clone()
    }

    /// AWS changes nothing of a connection but its tags.
    fn diff(&self, found: &ObservedConnection) -> Delta {
        Delta::default().with_tags(&self.tags, &found.tags)
    }

    fn updated(&self, found: &ObservedConnection) -> ObservedConnection {
        ObservedConnection {
            tags: retagged(&found.tags, &self.tags),
            ..found.clone()
        }
    }
}

impl Wanted<Connection> {
    /// The connection that the object's spec names or has made.
    pub(super) fn connection(common: &Common<'_>, source: &ConnectionSource, name: &str) -> Self {
        let (provider, host_arn) = match source {
            ConnectionSource::Shared(key) => return Self::Shared(key.clone()),
            ConnectionSource::Existing(arn) => return Self::Existing(arn.clone()),
            ConnectionSource::Provider(provider) => (Some(*provider), None),
            ConnectionSource::Host(arn) => (None, Some(arn.clone())),
        };
        Self::Own(Connection {
            name: name.to_owned(),
            provider,
            host_arn,
            tags: common.tags.clone(),
        })
    }
}

/// Chooses among the connections of one name: the authorized one is used, then the recorded one.
/// Answers that, and the spares beside it; only one that nobody authorized is spare.
pub fn choose(
    named: Vec<ObservedConnection>,
    owner: &Owner,
    recorded: Option<&str>,
    adopt: bool,
) -> (Option<ObservedConnection>, Vec<ObservedConnection>) {
    let (mut own, others): (Vec<_>, Vec<_>) = named.into_iter().partition(|c| owner.owns(&c.tags));
    own.sort_by_key(|c| {
        let rank = match c.state {
            ConnectionState::Available => 0,
            ConnectionState::Error => 1,
            ConnectionState::Pending => 2,
        };
        (rank, Some(c.arn.as_str()) != recorded, c.arn.clone())
    });
    let mut own = own.into_iter();
    if let Some(used) = own.next() {
        let spares = own
            .filter(|c| c.state == ConnectionState::Pending)
            .collect();
        return (Some(used), spares);
    }
    // Recorded as ours, and somebody took its tags away: the plan refuses it by name, unless it is
    // to be taken over.
    let wanted = |c: &ObservedConnection| {
        Some(c.arn.as_str()) == recorded || (adopt && Owner::unowned(&c.tags))
    };
    (others.into_iter().find(wanted), Vec::new())
}

/// The next change of the connection in use.
pub(super) fn plan(
    wanted: &Wanted<Connection>,
    found: Option<&ObservedConnection>,
    facts: &Facts<'_>,
) -> Planned<Change<Connection>> {
    match (wanted, found) {
        (Wanted::Own(connection), found) => Ok(Change::between(
            Resource::Connection,
            connection,
            found,
            facts,
        )),
        (Wanted::Existing(arn), None) => Err(Refusal::new(
            Reason::NotFound,
            format!(
                "connection.existingARN: there is no connection {arn} that this account may \
                     use; name one that exists, and that its account shares if it is another one"
            ),
        )),
        (Wanted::Existing(_), Some(_))
        | (Wanted::Unmanaged | Wanted::Shared(_) | Wanted::Waiting(_), _) => Ok(None),
    }
}

impl Retention {
    /// Whether the connection is kept; it holds a person's authorization once it was AVAILABLE.
    pub fn keeps_connection(&self, tags: &Tags, was_available: bool) -> bool {
        self.keeps(self.0.connection.as_ref(), tags, was_available)
    }
}

/// IAM statements of the operator for connections.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    let (own, usable) = (scope.connections(), scope.usable_connections());
    let operations = [
        "DeleteConnection",
        "GetConnection",
        "ListTagsForResource",
        "TagResource",
    ];
    let foreign = &usable[own.len()..];
    let to_pipelines = json!({"ForAllValues:StringEquals": {
        "codeconnections:PassedToService": "codepipeline.amazonaws.com",
        "codestar-connections:PassedToService": "codepipeline.amazonaws.com",
    }});
    let mut statements = vec![
        allow(
            "NewConnections",
            both(&["CreateConnection", "ListConnections"]),
            "*",
        ),
        allow("Connections", both(&operations), &own),
        allow_if(
            "PassConnections",
            both(&["PassConnection"]),
            &usable,
            to_pipelines,
        ),
    ];
    if !foreign.is_empty() {
        let read = both(&["GetConnection"]);
        statements.push(allow("ForeignConnections", read, foreign));
    }
    statements
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner() -> Owner {
        Owner {
            cluster: "c".into(),
            kind: "RepoFanout".into(),
            namespace: "n".into(),
            name: "x".into(),
        }
    }

    fn connection(arn: &str, state: ConnectionState, ours: bool) -> ObservedConnection {
        let tags = if ours {
            owner().tags()
        } else {
            Default::default()
        };
        ObservedConnection {
            arn: arn.into(),
            name: "rf".into(),
            state,
            provider: "GitHub".into(),
            tags,
        }
    }

    #[test]
    fn an_authorization_is_never_lost_to_a_spare() {
        use ConnectionState::{Available, Error, Pending};
        let (used, spare) = choose(
            vec![
                connection("a", Pending, true),
                connection("b", Available, true),
            ],
            &owner(),
            Some("a"),
            false,
        );
        assert_eq!(used.unwrap().arn, "b");
        assert_eq!(spare.iter().map(|c| &*c.arn).collect::<Vec<_>>(), ["a"]);

        let two = vec![
            connection("a", Available, true),
            connection("b", Error, true),
            connection("c", Available, true),
        ];
        let (used, spare) = choose(two, &owner(), Some("c"), false);
        assert_eq!((used.unwrap().arn.as_str(), spare), ("c", vec![]));
    }

    #[test]
    fn connections_of_others_are_neither_used_nor_spare() {
        let (used, spare) = choose(
            vec![connection("a", ConnectionState::Pending, false)],
            &owner(),
            None,
            false,
        );
        assert_eq!((used, spare), (None, vec![]));
        let (used, _) = choose(
            vec![connection("a", ConnectionState::Available, false)],
            &owner(),
            None,
            true,
        );
        assert_eq!(used.unwrap().arn, "a");
        let stripped = vec![connection("a", ConnectionState::Available, false)];
        assert_eq!(
            choose(stripped, &owner(), Some("a"), false).0.unwrap().arn,
            "a"
        );
    }
}
