//! Differences between desired and found, by meaning.

use std::fmt;

use crate::domain::owner::{RETAINED_AT, Tags};

/// The part of a resource that one call writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Field {
    /// Our tags.
    Tags,
    /// A bucket's public access block.
    PublicAccessBlock,
    /// A bucket's object ownership.
    Ownership,
    /// A bucket's default encryption, a topic's key.
    Encryption,
    /// A bucket's, topic's, queue's or role's policy.
    Policy,
    /// A bucket's lifecycle rule.
    Lifecycle,
    /// A role's trust policy.
    Trust,
    /// A role's permissions boundary.
    Boundary,
    /// A pipeline's structure.
    Declaration,
    /// A notification rule's or an event rule's settings.
    Rule,
    /// An event rule's targets.
    Targets,
    /// A queue's dead letters.
    Redrive,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// The part that is written.
    pub field: Field,
    /// The value, as AWS names it.
    pub path: String,
    /// The value in AWS.
    pub from: String,
    /// The value that is desired.
    pub to: String,
}

/// All differences of a resource.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Delta(pub Vec<Difference>);

impl Delta {
    /// Whether nothing differs.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether this field differs.
    pub fn has(&self, field: Field) -> bool {
        self.0.iter().any(|c| c.field == field)
    }

    pub(super) fn note(
        &mut self,
        field: Field,
        path: impl Into<String>,
        from: impl fmt::Display,
        to: impl fmt::Display,
    ) {
        self.0.push(Difference {
            field,
            path: path.into(),
            from: from.to_string(),
            to: to.to_string(),
        });
    }

    pub(super) fn differ<T: PartialEq + fmt::Display>(
        &mut self,
        field: Field,
        path: &str,
        from: &T,
        to: &T,
    ) {
        if from != to {
            self.note(field, path, from, to);
        }
    }

    /// A key that the class asks for; where it asks for none, any will do.
    pub(super) fn key(&mut self, desired: Option<&String>, found: Option<&String>) {
        if let Some(key) = desired
            && found != Some(key)
        {
            let found = found.map_or("none", String::as_str);
            self.note(Field::Encryption, "kmsKey", found, key);
        }
    }

    /// With the tags that differ; others' tags stay as they are.
    pub(super) fn with_tags(mut self, desired: &Tags, found: &Tags) -> Self {
        for (key, value) in desired {
            let found = found.get(key).map_or("", String::as_str);
            if found != value {
                self.note(Field::Tags, format!("tags.{key}"), found, value);
            }
        }
        if let Some(since) = found.get(RETAINED_AT).filter(|since| !since.is_empty()) {
            self.note(Field::Tags, format!("tags.{RETAINED_AT}"), since, "");
        }
        self
    }

    /// The tags to write.
    pub fn tags(&self) -> Tags {
        let tags = self.0.iter().filter(|c| c.field == Field::Tags);
        tags.filter_map(|c| Some((c.path.strip_prefix("tags.")?.to_owned(), c.to.clone())))
            .collect()
    }

    /// The value in AWS of a tag that differs.
    pub(super) fn tag_before(&self, key: &str) -> Option<&str> {
        let mut tags = self.0.iter().filter(|c| c.field == Field::Tags);
        let tag = tags.find(|c| c.path.strip_prefix("tags.") == Some(key))?;
        Some(&tag.from)
    }

    /// All differences, in one line.
    pub fn describe(&self) -> String {
        let shorten = |text: &str| match text.char_indices().nth(80) {
            Some((end, _)) => format!("{}…", &text[..end]),
            None => text.to_owned(),
        };
        let one = |c: &Difference| {
            let (from, to) = (shorten(&c.from), shorten(&c.to));
            format!("{} from '{from}' to '{to}'", c.path)
        };
        self.0.iter().map(one).collect::<Vec<_>>().join(", ")
    }
}

/// All tags as they are once ours are written.
pub(super) fn retagged(found: &Tags, desired: &Tags) -> Tags {
    let mut tags = found.clone();
    if let Some(since) = tags.get_mut(RETAINED_AT) {
        since.clear();
    }
    tags.extend(desired.clone());
    tags
}
