//! Patterns of settings and classes: `*` stands for any text, `?` for one character.

use wildmatch::WildMatch;

use crate::domain::refusal::{Refusal, not_allowed};

/// Whether one of the patterns (`*`, `?`) covers the text.
pub fn covers(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|p| WildMatch::new(p).matches(text))
}

/// ARN patterns of what exists and may be referred to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allowed {
    /// The patterns.
    pub patterns: Vec<String>,
    /// Whose they are, for the message.
    pub whose: String,
}

impl Allowed {
    /// Refuses what no pattern covers.
    pub fn check(&self, field: &str, arn: &str) -> Result<(), Refusal> {
        let Self { patterns, whose } = self;
        if covers(patterns, arn) {
            return Ok(());
        }
        Err(not_allowed(format!(
            "{field}: {arn} is not covered by {whose}; have a pattern added that covers it, or \
                 leave {field} out"
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
