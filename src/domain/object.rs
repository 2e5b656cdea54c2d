//! What lies in buckets: objects, and the files of a source artifact.

use std::collections::HashMap;

use jiff::Timestamp;

/// A file in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    /// Its key.
    pub key: String,
    /// What it is deleted by: another content has another one.
    pub etag: String,
    /// Bytes.
    pub size: u64,
    /// When it was written, in whole seconds.
    pub modified: Timestamp,
}

/// A file in a source artifact, by its path.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Bytes.
    pub size: u64,
    /// CRC-32 of its content.
    pub crc: u32,
}

/// The files of a source artifact.
pub type Entries = HashMap<String, Entry>;
