//! What is kept when an object is deleted. Read leniently: a deletion needs no valid spec.

use crate::api::repofanout::DeletionSpec;
use crate::domain::owner::{ADOPTED, Tags};

/// What an object's `spec.deletion` says.
#[derive(Clone, Debug, Default)]
pub struct Retention(pub DeletionSpec);

/// What its author wrote of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Delete,
    Retain,
    Nothing,
}

impl Retention {
    fn word(&self, own: Option<&String>) -> Word {
        match own.or(self.0.default.as_ref()).map(String::as_str) {
            Some("Delete") => Word::Delete,
            // A word of a newer version is no leave to delete.
            Some(_) => Word::Retain,
            None => Word::Nothing,
        }
    }

    fn keeps(word: Word, tags: &Tags, otherwise: bool) -> bool {
        match word {
            Word::Delete => false,
            Word::Retain => true,
            Word::Nothing => otherwise || tags.contains_key(ADOPTED),
        }
    }

    /// Whether pipeline, role or notification rule are kept.
    pub fn keeps_other(&self, tags: &Tags) -> bool {
        Self::keeps(self.word(None), tags, false)
    }

    /// Whether the connection is kept; it holds a person's authorization once it was AVAILABLE.
    pub fn keeps_connection(&self, tags: &Tags, was_available: bool) -> bool {
        Self::keeps(self.word(self.0.connection.as_ref()), tags, was_available)
    }

    /// Whether the own destination bucket is kept.
    pub fn keeps_destination(&self, tags: &Tags) -> bool {
        Self::keeps(self.word(self.0.destination.as_ref()), tags, true)
    }

    /// Whether our prefix of an existing bucket is kept: all but on the field's own word.
    pub fn keeps_prefix(&self) -> bool {
        self.0.destination.as_deref() != Some("Delete")
    }

    /// Whether the own artifacts bucket is kept.
    pub fn keeps_artifacts(&self, tags: &Tags) -> bool {
        Self::keeps(self.word(self.0.artifacts.as_ref()), tags, false)
    }

    /// Whether the own topic is kept.
    pub fn keeps_topic(&self, tags: &Tags, subscribed: bool) -> bool {
        Self::keeps(self.word(self.0.topic.as_ref()), tags, subscribed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retention(default: Option<&str>, connection: Option<&str>) -> Retention {
        let text = |t: Option<&str>| t.map(str::to_owned);
        Retention(DeletionSpec {
            default: text(default),
            connection: text(connection),
            ..Default::default()
        })
    }

    #[test]
    fn words_beat_defaults_and_adopted_things_are_kept_without_a_word() {
        let (none, adopted) = (
            Tags::new(),
            Tags::from([(ADOPTED.to_owned(), "true".to_owned())]),
        );
        assert!(!retention(None, None).keeps_other(&none));
        assert!(retention(None, None).keeps_other(&adopted));
        assert!(!retention(Some("Delete"), None).keeps_other(&adopted));
        assert!(retention(None, None).keeps_connection(&none, true));
        assert!(!retention(None, None).keeps_connection(&none, false));
        assert!(!retention(Some("Retain"), Some("Delete")).keeps_connection(&none, true));
        assert!(retention(Some("Retain"), None).keeps_artifacts(&none));
        assert!(
            retention(Some("Archive"), None).keeps_artifacts(&none),
            "an unknown word deletes nothing"
        );
    }
}
