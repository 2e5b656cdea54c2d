//! AWS tags that objects and classes write. IAM and STS ignore the case of a key and refuse two that
//! differ in nothing else, and an object's tags go on its role as on everything that it has.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_tags.html#id_tags_naming>

use crate::domain::owner::Tags;
use crate::domain::refusal::{Refusal, invalid};

/// What the keys begin with that AWS keeps for itself, and those that name a resource's owner.
const RESERVED: [&str; 2] = ["aws:", "repofanout.dev/"];

/// The tags of a field, if AWS takes them side by side and none of them speaks of an owner.
pub fn parse(field: &str, tags: Option<&Tags>) -> Result<Tags, Refusal> {
    let tags = distinct(field, tags)?;
    for key in tags.keys() {
        let folded = key.to_lowercase();
        if let Some(prefix) = RESERVED.iter().find(|prefix| folded.starts_with(**prefix)) {
            return Err(invalid(format!(
                "{field}: '{key}' begins with {prefix} in whatever case, which says who owns a \
                 resource; choose another key"
            )));
        }
    }
    Ok(tags)
}

/// The tags of a field, if no two keys differ in case alone.
pub fn distinct(field: &str, tags: Option<&Tags>) -> Result<Tags, Refusal> {
    let tags = tags.cloned().unwrap_or_default();
    let mut seen: Vec<(String, &String)> = Vec::new();
    for key in tags.keys() {
        let folded = key.to_lowercase();
        if let Some((_, twin)) = seen.iter().find(|(other, _)| *other == folded) {
            return Err(invalid(format!(
                "{field}: the keys '{twin}' and '{key}' differ in case alone, and AWS takes them \
                 for one; leave one of them out"
            )));
        }
        seen.push((folded, key));
    }
    Ok(tags)
}

/// An object's tags and those of its class, which win; a key of the class in another case is
/// refused, as nobody could say which of the two AWS keeps.
pub fn under_class(own: Tags, class: &str, classes: &Tags) -> Result<Tags, Refusal> {
    let mut all = own;
    for (key, value) in classes {
        let folded = key.to_lowercase();
        let twin = all.keys().find(|k| *k != key && k.to_lowercase() == folded);
        if let Some(twin) = twin {
            return Err(invalid(format!(
                "tags: '{twin}' differs from '{key}', a tag of RepoFanoutClass {class}, in case \
                 alone, and AWS takes the two keys for one; leave '{twin}' out, the class sets it"
            )));
        }
        all.insert(key.clone(), value.clone());
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(keys: &[&str]) -> Tags {
        let pairs = keys
            .iter()
            .map(|key| ((*key).to_owned(), (*key).to_owned()));
        pairs.collect()
    }

    #[test]
    fn keys_are_told_apart_without_their_case() {
        let refused = |keys: &[&str]| {
            let parsed = parse("tags", Some(&tags(keys)));
            parsed.err().map(|refusal| refusal.message)
        };
        assert_eq!(refused(&["team", "Teams"]), None);
        let twins = refused(&["Team", "cost", "team"]).unwrap();
        assert!(
            twins.starts_with("tags: the keys 'Team' and 'team' differ in case alone"),
            "{twins}"
        );
        for reserved in [
            "repofanout.dev/name",
            "RepoFanout.dev/Name",
            "AWS:cloudformation",
        ] {
            let refused = refused(&[reserved]).unwrap();
            assert!(refused.contains(reserved), "{refused}");
            assert!(distinct("sessionTags", Some(&tags(&[reserved]))).is_ok());
        }
        assert!(distinct("sessionTags", Some(&tags(&["a", "A"]))).is_err());
    }

    #[test]
    fn the_class_s_tag_wins_and_has_no_twin() {
        let class = Tags::from([("team".to_owned(), "class".to_owned())]);
        let all = under_class(tags(&["team", "cost"]), "acme", &class).unwrap();
        assert_eq!((&*all["team"], &*all["cost"]), ("class", "cost"));
        let refused = under_class(tags(&["TEAM"]), "acme", &class).unwrap_err();
        assert!(
            refused
                .message
                .contains("'team', a tag of RepoFanoutClass acme"),
            "{refused}"
        );
    }
}
