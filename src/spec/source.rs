//! The source of a bucket, a topic or a connection: created for the object, existing, or the class's.

use crate::domain::refusal::{Refusal, known_or};
use crate::domain::word::words;

/// The source of a bucket or a topic.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// The object's own, perhaps with a chosen name: the operator creates, configures and deletes it.
    Own(Option<String>),
    /// An existing one, which is used and observed only: a bucket's name or a topic's ARN.
    Existing(String),
    /// The class's: a bucket's name or a topic's ARN.
    Shared(String),
}

impl Source {
    /// The name or ARN; `generated` if none was chosen.
    pub fn name<'a>(&'a self, generated: &'a str) -> &'a str {
        match self {
            Self::Own(None) => generated,
            Self::Own(Some(name)) | Self::Existing(name) | Self::Shared(name) => name,
        }
    }

    /// Whether the class shares it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }
}

words! {
    /// The providers to which a connection needs no host.
    Provider {
        /// github.com.
        GitHub = "GitHub",
        /// gitlab.com.
        GitLab = "GitLab",
        /// bitbucket.org.
        Bitbucket = "Bitbucket",
    }
}

/// The source of the connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionSource {
    /// The object's own, to this provider.
    Provider(Provider),
    /// The object's own, on the host with this ARN.
    Host(String),
    /// The existing connection with this ARN.
    Existing(String),
    /// The class's connection with this name.
    Shared(String),
}

impl ConnectionSource {
    /// The object's own connection to this provider; to GitHub if the spec names none.
    pub fn provider(field: &str, word: Option<&str>) -> Result<Self, Refusal> {
        known_or(field, word, Provider::GitHub).map(Self::Provider)
    }
}
