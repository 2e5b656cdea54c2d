//! Patterns of settings and classes: `*` stands for any text, `?` for one character.

use wildmatch::WildMatch;

/// Whether one of the patterns (`*`, `?`) covers the text.
pub fn covers(patterns: &[String], text: &str) -> bool {
    patterns.iter().any(|p| WildMatch::new(p).matches(text))
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
