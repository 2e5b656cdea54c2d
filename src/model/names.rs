//! Names in AWS: a prefix, a readable base, and a hash that makes them unique.

use sha2::{Digest, Sha256};

use super::owner::Owner;

/// Length of the hash: 7 letters of 5 bits each.
const HASH: usize = 7;
/// The shortest limit of any resource: a connection's name has 32 characters.
/// <https://docs.aws.amazon.com/codestar-connections/latest/APIReference/API_CreateConnection.html>
const LONGEST: usize = 32;
/// The longest prefix that leaves room for a readable base.
pub const LONGEST_PREFIX: usize = 12;

/// What all generated names of an object begin with: at most 32 characters of
/// `[a-z0-9-]`, made of the prefix, the chosen name (or namespace and name) and
/// a hash over the owner, so that no two objects share it.
pub fn base_name(prefix: &str, chosen: Option<&str>, owner: &Owner) -> String {
    let readable = match chosen {
        Some(name) => name.to_owned(),
        None => format!("{}-{}", owner.namespace, owner.name).replace('.', "-"),
    };
    let room = LONGEST - prefix.len() - 1 - HASH;
    let readable: String = readable.chars().take(room).collect();
    format!("{prefix}{}-{}", readable.trim_end_matches('-'), hash(owner))
}

fn hash(owner: &Owner) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = Sha256::digest([&*owner.cluster, &owner.kind, &owner.namespace, &owner.name].join("/"));
    digest.iter().take(HASH).map(|b| ALPHABET[usize::from(b % 32)] as char).collect()
}

/// A request token that stays the same for the same cause, for calls that AWS
/// makes idempotent by it: 32 characters of `[0-9a-f]`.
pub fn token(parts: &[&str]) -> String {
    Sha256::digest(parts.join("\n")).iter().take(16).map(|b| format!("{b:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owner(namespace: &str, name: &str) -> Owner {
        Owner { cluster: "c".into(), kind: "RepoFanout".into(), namespace: namespace.into(), name: name.into() }
    }

    #[test]
    fn names_fit_the_shortest_limit_and_tell_owners_apart() {
        let long = owner(&"n".repeat(63), &"m".repeat(63));
        assert_eq!(base_name("rf-", None, &long).len(), LONGEST);
        assert_eq!(base_name(&"p".repeat(LONGEST_PREFIX), Some(&"x".repeat(21)), &long).len(), LONGEST);
        // Joined by a dash both read a-b-c; the hash tells them apart.
        assert_ne!(base_name("rf-", None, &owner("a-b", "c")), base_name("rf-", None, &owner("a", "b-c")));
        assert_eq!(base_name("rf-", None, &owner("a", "b")), base_name("rf-", None, &owner("a", "b")));
    }

    #[test]
    fn a_base_never_ends_in_two_dashes() {
        let name = base_name("rf-", Some("abcdefghijklmnopqrst-u"), &owner("a", "b"));
        assert!(!name.contains("--"), "{name}");
    }
}
