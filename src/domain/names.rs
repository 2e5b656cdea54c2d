//! Names in AWS: a prefix, a readable base, and a hash that makes them unique.

use sha2::{Digest, Sha256};

use crate::domain::owner::Owner;

/// Length of the hash: 7 letters of 5 bits each.
const HASH: usize = 7;
/// The shortest limit of any resource: a connection's name has 32 characters.
/// <https://docs.aws.amazon.com/codestar-connections/latest/APIReference/API_CreateConnection.html>
const LONGEST: usize = 32;
/// The longest prefix that leaves room for a readable base.
pub const LONGEST_PREFIX: usize = 12;

/// Base of all generated names of an object: at most 32 characters of `[a-z0-9-]`. It consists of
/// the prefix, the chosen name (or namespace and name) and a hash of the owner, so that no two
/// objects share it.
pub fn base_name(prefix: &str, chosen: Option<&str>, owner: &Owner) -> String {
    let readable = match chosen {
        Some(name) => name.to_owned(),
        None => format!("{}-{}", owner.namespace, owner.name).replace('.', "-"),
    };
    let room = LONGEST - prefix.len() - 1 - HASH;
    let readable: String = readable.chars().take(room).collect();
    format!("{prefix}{}-{}", readable.trim_end_matches('-'), hash(owner))
}

/// Base of the names of all resources that a class shares: at most 20 characters, so that a bucket's
/// name has room for the suffix of S3's account-regional namespace.
pub fn class_name(prefix: &str, owner: &Owner) -> String {
    const LONGEST_OF_CLASS: usize = 20;
    let room = LONGEST_OF_CLASS - prefix.len() - 1 - HASH;
    let readable: String = owner.name.replace('.', "-").chars().take(room).collect();
    match readable.trim_end_matches('-') {
        "" => format!("{prefix}{}", hash(owner)),
        readable => format!("{prefix}{readable}-{}", hash(owner)),
    }
}

/// Name of a class's own connection: at most 32 characters.
pub fn connection_name(prefix: &str, owner: &Owner, connection: &str) -> String {
    let of = Owner {
        name: format!("{}/{connection}", owner.name),
        ..owner.clone()
    };
    base_name(prefix, Some(connection), &of)
}

/// Suffix of bucket names in S3's account-regional namespace, where nobody else can take them; none
/// if the region does not have that namespace.
/// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/gpbucketnamespaces.html>
pub fn account_regional_suffix(partition: &str, account: &str, region: &str) -> Option<String> {
    let there = partition == "aws" && !["me-south-1", "me-central-1"].contains(&region);
    there.then(|| format!("-{account}-{region}-an"))
}

fn hash(owner: &Owner) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest =
        Sha256::digest([&*owner.cluster, &owner.kind, &owner.namespace, &owner.name].join("/"));
    digest
        .iter()
        .take(HASH)
        .map(|b| ALPHABET[usize::from(b % 32)] as char)
        .collect()
}

/// A request token, the same for the same parts, for calls that AWS makes idempotent by it: 32
/// characters of `[0-9a-f]`.
pub fn token(parts: &[&str]) -> String {
    Sha256::digest(parts.join("\n"))
        .iter()
        .take(16)
        .map(|b| format!("{b:02x}"))
        .collect()
}

/// Name of the stage and action that reads the repository.
pub const SOURCE: &str = "Source";

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn owner(namespace: &str, name: &str) -> Owner {
        Owner {
            cluster: "c".into(),
            kind: "RepoFanout".into(),
            namespace: namespace.into(),
            name: name.into(),
        }
    }

    #[test]
    fn names_fit_the_shortest_limit_and_tell_owners_apart() {
        let long = owner(&"n".repeat(63), &"m".repeat(63));
        assert_eq!(base_name("rf-", None, &long).len(), LONGEST);
        assert_eq!(
            base_name(&"p".repeat(LONGEST_PREFIX), Some(&"x".repeat(21)), &long).len(),
            LONGEST
        );
        // Joined by a dash both read a-b-c; the hash tells them apart.
        assert_ne!(
            base_name("rf-", None, &owner("a-b", "c")),
            base_name("rf-", None, &owner("a", "b-c"))
        );
        assert_eq!(
            base_name("rf-", None, &owner("a", "b")),
            base_name("rf-", None, &owner("a", "b"))
        );
    }

    #[test]
    fn names_of_a_class_leave_room_for_the_longest_bucket_name() {
        let long = Owner {
            kind: "RepoFanoutClass".into(),
            ..owner("", &"m".repeat(63))
        };
        let suffix = account_regional_suffix("aws", "111122223333", "ap-southeast-1").unwrap();
        for prefix in ["rf-", &"p".repeat(LONGEST_PREFIX)] {
            let bucket = format!("{}-destination{suffix}", class_name(prefix, &long));
            assert!(bucket.len() <= 63 && !bucket.contains("--"), "{bucket}");
        }
        assert_eq!(
            account_regional_suffix("aws", "111122223333", "me-south-1"),
            None
        );
        assert_ne!(
            connection_name("rf-", &long, "a"),
            connection_name("rf-", &long, "b")
        );
    }

    #[test]
    fn a_base_never_ends_in_two_dashes() {
        let name = base_name("rf-", Some("abcdefghijklmnopqrst-u"), &owner("a", "b"));
        assert!(!name.contains("--"), "{name}");
    }

    /// A name as Kubernetes takes it for an object.
    const OBJECT: &str = "[a-z0-9]([a-z0-9.-]{0,61}[a-z0-9])?";
    /// A namespace, a class's connection.
    const LABEL: &str = "[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?";
    const PREFIX: &str = "[a-z0-9][a-z0-9-]{0,11}";

    fn plain(name: &str) -> bool {
        name.bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    }

    proptest! {
        #[test]
        fn generated_names_fit_every_limit_of_aws(
            namespace in LABEL,
            name in OBJECT,
            chosen in prop::option::of("[a-z0-9]([a-z0-9-]{0,19}[a-z0-9])?"),
            connection in LABEL,
            prefix in PREFIX,
        ) {
            let base = base_name(&prefix, chosen.as_deref(), &owner(&namespace, &name));
            let class = Owner { kind: "RepoFanoutClass".into(), ..owner("", &name) };
            let shared = class_name(&prefix, &class);
            let connection = connection_name(&prefix, &class, &connection);
            for (name, longest) in [(&base, 32), (&connection, 32), (&shared, 20)] {
                prop_assert!(name.len() <= longest && plain(name), "{}", name);
                prop_assert!(name.starts_with(&prefix) && !name.ends_with('-'), "{}", name);
            }
            for region in ["eu-west-1", "ap-southeast-1", "me-south-1"] {
                let suffix = account_regional_suffix("aws", "111122223333", region);
                let bucket = format!("{shared}-destination{}", suffix.unwrap_or_default());
                prop_assert!(bucket.len() <= 63, "{}", bucket);
            }
        }

        #[test]
        fn no_two_owners_share_a_name(
            owners in prop::collection::btree_set((LABEL, "[a-c]([a-c.-]{0,2}[a-c])?"), 2..30),
            chosen in prop::option::of("[a-z]{1,21}"),
        ) {
            let names: BTreeSet<String> = owners
                .iter()
                .map(|(namespace, name)| base_name("rf-", chosen.as_deref(), &owner(namespace, name)))
                .collect();
            prop_assert_eq!(names.len(), owners.len());
        }

        #[test]
        fn tokens_are_of_one_form(parts in prop::collection::vec(".*", 0..4)) {
            let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
            let token = token(&parts);
            prop_assert!(token.len() == 32 && token.bytes().all(|b| b.is_ascii_hexdigit()));
        }
    }
}
