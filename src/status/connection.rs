//! The connection on status, and the verdict on its state.

use crate::api::condition::{ConditionType, Reason};
use crate::api::status::ConnectionStatus;
use crate::domain::placement::Placement;
use crate::domain::prefix;
use crate::resource::connection::{ConnectionState, ObservedConnection};
use crate::status::verdict::Verdict;

/// A connection as status records it once its ARN is known: with its link, and with the intent that
/// it was created under, if that is recorded. Nobody follows the link of one that is authorized, so
/// that its recorded link stays: a new form of it changes no object that is well.
pub fn connection_status(
    place: &Placement,
    connection: &ObservedConnection,
    before: Option<&ConnectionStatus>,
) -> ConnectionStatus {
    let authorized = connection.state == ConnectionState::Available;
    let same = before.filter(|before| authorized && before.arn.as_ref() == Some(&connection.arn));
    let link = same.and_then(|before| before.authorize_url.clone());
    ConnectionStatus {
        arn: Some(connection.arn.clone()),
        status: Some(connection.state.as_str().to_owned()),
        authorize_url: Some(link.unwrap_or_else(|| place.authorize_url(&connection.arn))),
        intent: before.and_then(|before| before.intent.clone()),
    }
}

/// The other end of a connection, as far as it is known. Messages name it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Remote<'a> {
    /// The provider, such as `GitHub`; empty if it is not known.
    pub(crate) provider: &'a str,
    /// The repository, `owner/name`; empty if the connection serves several.
    pub(crate) repository: &'a str,
}

/// The verdict on the recorded state of a connection; none if no state is recorded.
pub(crate) fn verdict(connection: &ConnectionStatus, remote: Remote<'_>) -> Option<Verdict> {
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
        ConnectionState::Error => (Reason::ConnectionError, rejected(url, remote)),
    };
    Some(Verdict::new(
        ConditionType::ConnectionAvailable,
        reason,
        message,
    ))
}

fn rejected(url: &str, remote: Remote<'_>) -> String {
    let provider = match remote.provider {
        "" => "the provider",
        known => known,
    };
    let organization = match prefix::owner(remote.repository) {
        "" => "the repositories' organization".to_owned(),
        owner => format!("`{owner}`"),
    };
    format!(
        "{provider} rejects this connection; pushes will not arrive. Check that the AWS Connector \
             app is installed and not suspended in {organization}; AWS retries by itself. The \
             connection's page is {url}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_recorded_link_stays_while_the_same_connection_is_authorized() {
        let arn = "arn:aws:codeconnections:eu-west-1:111122223333:connection/abc";
        let place = Placement {
            account: "111122223333".into(),
            partition: "aws".into(),
            region: "eu-west-1".into(),
            class: None,
            base_name: "b".into(),
        };
        let recorded = |arn: &str| ConnectionStatus {
            arn: Some(arn.to_owned()),
            authorize_url: Some("https://console/old".to_owned()),
            ..ConnectionStatus::default()
        };
        for (state, before, stays) in [
            (ConnectionState::Available, arn, true),
            (ConnectionState::Available, "another", false),
            (ConnectionState::Pending, arn, false),
            (ConnectionState::Error, arn, false),
        ] {
            let found = ObservedConnection {
                arn: arn.into(),
                name: "b".into(),
                state,
                provider: "GitHub".into(),
                tags: Default::default(),
            };
            let link = connection_status(&place, &found, Some(&recorded(before))).authorize_url;
            assert_eq!(
                link.as_deref() == Some("https://console/old"),
                stays,
                "{state:?}"
            );
        }
    }

    #[test]
    fn a_rejected_connection_names_the_provider_and_the_organization_where_they_are_known() {
        let connection = ConnectionStatus {
            status: Some("ERROR".to_owned()),
            authorize_url: Some("https://console/c".to_owned()),
            ..ConnectionStatus::default()
        };
        let known = Remote {
            provider: "GitHub",
            repository: "acme/docs",
        };
        for (remote, words) in [
            (
                known,
                ["GitHub rejects this connection", "not suspended in `acme`;"],
            ),
            (
                Remote::default(),
                ["the provider rejects", "in the repositories' organization;"],
            ),
        ] {
            let message = verdict(&connection, remote).unwrap().message;
            assert!(message.starts_with(words[0]), "{message}");
            assert!(message.contains(words[1]), "{message}");
            assert!(message.ends_with("https://console/c"), "{message}");
        }
    }
}
