//! Patterns in settings and classes: `*` stands for any text, `?` for one character.

use wildmatch::WildMatch;

use crate::domain::refusal::{Refusal, not_allowed};

/// Whether one of the patterns (`*`, `?`) covers the text.
pub fn covers(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|p| WildMatch::new(p).matches(text))
}

/// ARN patterns of existing resources that an object may use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The patterns.
    pub patterns: Vec<String>,
    /// The setting or class that the patterns belong to, for messages.
    pub whose: String,
}

impl Allowed {
    /// Refuses an ARN that no pattern covers.
    pub fn check(&self, field: &str, arn: &str) -> Result<(), Refusal> {
        let Self { patterns, whose } = self;
        if covers(patterns, arn) {
            return Ok(());
        }
        Err(not_allowed(format!(
            "{field}: {arn} is not covered by {whose}; leave {field} out, or ask an administrator \
                 to add a pattern that covers it"
        )))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_cover_whole_arns_only() {
        let patterns = ["arn:aws:s3:::team-*".to_owned()];
        assert!(covers(&patterns, "arn:aws:s3:::team-a"));
        assert!(!covers(&patterns, "arn:aws:s3:::other"));
        assert!(!covers(&[], "arn:aws:s3:::team-a"));
    }
}
