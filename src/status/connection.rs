//! The connection on status, and what its state means for the object.

use crate::api::condition::{ConditionType, Reason};
use crate::api::status::ConnectionStatus;
use crate::domain::placement::Placement;
use crate::resource::connection::{ConnectionState, ObservedConnection};
use crate::status::verdict::Verdict;

/// A connection as it is recorded once its ARN is known: with its link, and without an intent.
pub fn connection_status(place: &Placement, connection: &ObservedConnection) -> ConnectionStatus {
    ConnectionStatus {
        arn: Some(connection.arn.clone()),
        status: Some(connection.state.as_str().to_owned()),
        authorize_url: Some(place.authorize_url(&connection.arn)),
        intent: None,
    }
}

/// What the recorded state of a connection means; nothing if none is recorded.
pub(crate) fn verdict(connection: &ConnectionStatus) -> Option<Verdict> {
    let url = connection.authorize_url.as_deref().unwrap_or_default();
    let (reason, message) = match ConnectionState::parse(connection.status.as_deref()?) {
        ConnectionState::Available => (
            Reason::ConnectionAvailable,
            "a person has authorized the connection".to_owned(),
        ),
        ConnectionState::Pending => (
            Reason::ConnectionPending,
            format!(
                "authorize the connection once, as an owner of the organization: open {url} and \
                     choose 'Update pending connection'"
            ),
        ),
        ConnectionState::Error => (
            Reason::ConnectionError,
            format!(
                "the provider refuses the connection, AWS tries again by itself; see {url}, and \
                     whether the app is still installed"
            ),
        ),
    };
    Some(Verdict::new(
        ConditionType::ConnectionAvailable,
        reason,
        message,
    ))
}
