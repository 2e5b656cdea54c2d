//! Where a thing comes from: made for the object, there already, or the class's.

use crate::domain::refusal::{Refusal, known_or};
use crate::domain::word::words;

/// A thing of its own, perhaps with a chosen name, or one that exists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Made, configured and deleted by the operator.
    Own(Option<String>),
    /// Used and looked at: a bucket's name or a topic's ARN.
    Existing(String),
    /// Its class's: a bucket's name or a topic's ARN.
    Shared(String),
}

impl Source {
    /// The name that it names; `generated` where it names none.
    pub fn name<'a>(&'a self, generated: &'a str) -> &'a str {
        match self {
            Self::Own(None) => generated,
            Self::Own(Some(name)) | Self::Existing(name) | Self::Shared(name) => name,
        }
    }

    /// Whether it is the class's.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Shared(_))
    }
}

words! {
    /// The providers that a connection needs no host for.
    Provider {
        /// github.com.
        GitHub = "GitHub",
        /// gitlab.com.
        GitLab = "GitLab",
        /// bitbucket.org.
        Bitbucket = "Bitbucket",
    }
}

/// Where the connection comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConnectionSource {
    /// Its own, to this provider.
    Provider(Provider),
    /// Its own, on the host with this ARN.
    Host(String),
    /// The one with this ARN.
    Existing(String),
    /// Its class's, with this name.
    Shared(String),
}

impl ConnectionSource {
    /// An own connection to a provider; to GitHub where none is written.
    pub fn provider(field: &str, word: Option<&str>) -> Result<Self, Refusal> {
        known_or(field, word, Provider::GitHub).map(Self::Provider)
    }
}
