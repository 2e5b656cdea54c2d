//! The resources that `spec.deletion` keeps. It is read leniently: a deletion needs no valid spec.
//! Each resource says in its own file which field is about it, and what holds where nothing is
//! written.

use crate::api::repofanout::DeletionSpec;
use crate::domain::owner::{ADOPTED, Tags};

/// An object's `spec.deletion`.
#[derive(Clone, Debug, Default)]
pub struct Retention(pub DeletionSpec);

impl Retention {
    /// Whether something with these tags is kept, by its own field or the default; `otherwise`
    /// holds where neither is written. What was adopted is then kept, too.
    pub(super) fn keeps(&self, own: Option<&String>, tags: &Tags, otherwise: bool) -> bool {
        match own.or(self.0.default.as_ref()).map(String::as_str) {
            Some("Delete") => false,
            // A newer version may have more words; one that is not known deletes nothing.
            Some(_) => true,
            None => otherwise || tags.contains_key(ADOPTED),
        }
    }

    /// Whether a resource without a field of its own is kept.
    pub fn keeps_other(&self, tags: &Tags) -> bool {
        self.keeps(None, tags, false)
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
