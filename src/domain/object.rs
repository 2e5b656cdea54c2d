//! Objects in buckets, and the files of a source artifact.

use std::collections::HashMap;

use jiff::Timestamp;

/// A file in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// Its ETag, which changes with its content. Deletions name it.
    pub etag: String,
    /// Size in bytes.
    pub size: u64,
    /// When it was written, in whole seconds.
    pub modified: Timestamp,
}

/// A file in a source artifact, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Size in bytes.
    pub size: u64,
    /// CRC-32 of its content.
    pub crc: u32,
}

/// The files of a source artifact.
pub type Entries = HashMap<String, Entry>;

/// A key as a message can show it, however odd it is: control characters are escaped.
pub fn without_controls(key: &str) -> String {
    let escaped = |c: char| match c.is_control() {
        true => c.escape_default().to_string(),
        false => c.to_string(),
    };
    key.chars().map(escaped).collect()
}
