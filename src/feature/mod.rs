//! What an object may ask for beside the copy, one file each.

pub mod announce;
pub mod prune;
pub mod subscribe;
