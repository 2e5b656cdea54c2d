//! The operator's own message about a delivery. AWS's message names a pipeline and an execution, and
//! neither the commit nor the bucket.

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::status::DeliveredStatus;
use crate::domain::object::Entries;
use crate::domain::owner::Owner;
use crate::domain::placement::Placement;

/// Name and version of the message's schema. New fields keep the version; a changed meaning gets a
/// new one.
const SCHEMA: &str = "repofanout.dev/announcement/v1";
/// Limit for the listed keys, in bytes: SNS takes 256 KiB a message. Further keys are left out, and
/// `truncated` says so.
const KEYS: usize = 128 << 10;

/// A delivery: this commit's files are in the bucket now.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Announcement {
    /// Always `repofanout.dev/announcement/v1`.
    pub schema: String,
    /// Namespace of the RepoFanout.
    pub namespace: String,
    /// Name of the RepoFanout.
    pub name: String,
    /// The repository, `owner/name`.
    pub repository: String,
    /// The branch that is copied; with `pipeline.triggers` the commit may be of another one, a tag
    /// or a pull request.
    pub branch: String,
    /// The commit, if CodePipeline reports it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<Commit>,
    /// The AWS account of the bucket.
    pub account: String,
    /// The AWS region of the bucket.
    pub region: String,
    /// The bucket.
    pub bucket: String,
    /// Prefix of every key, without the slash at its end.
    pub prefix: String,
    /// CodePipeline's execution id; the same one may be announced again.
    pub execution: String,
    /// When the execution ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<Time>")]
    pub delivered_at: Option<Timestamp>,
    /// Differences from the previous delivery, if both artifacts could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub changes: Option<Changes>,
}

/// A commit.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Commit {
    /// Its id in full.
    pub id: String,
    /// First line of its message.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Its page at the provider, if it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
}

/// Differences from the previous delivery.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Changes {
    /// Keys that are new or have another content.
    pub changed: Vec<String>,
    /// Keys that are no longer in the repository.
    pub deleted: Vec<String>,
    /// Whether those are no longer in the bucket either.
    pub pruned: bool,
    /// Whether there are more of either than the lists show.
    pub truncated: bool,
}

impl Changes {
    /// Compares the files of two source artifacts.
    pub fn between(before: &Entries, after: &Entries, prefix: &str, pruned: bool) -> Self {
        let key = |path: &String| format!("{prefix}/{path}");
        let mut changed: Vec<String> = after
            .iter()
            .filter(|(path, entry)| before.get(*path) != Some(entry))
            .map(|(path, _)| key(path))
            .collect();
        let mut deleted: Vec<String> = before
            .keys()
            .filter(|path| !after.contains_key(*path))
            .map(key)
            .collect();
        let all = changed.len() + deleted.len();
        let mut room = KEYS;
        for keys in [&mut deleted, &mut changed] {
            keys.sort_unstable();
            keys.retain(|key| {
                let fits = key.len() + 3 <= room;
                room = if fits { room - key.len() - 3 } else { 0 };
                fits
            });
        }
        let truncated = changed.len() + deleted.len() < all;
        Self {
            changed,
            deleted,
            pruned,
            truncated,
        }
    }
}

impl Announcement {
    /// The announcement of this delivery.
    pub fn new(
        owner: &Owner,
        place: &Placement,
        delivered: &DeliveredStatus,
        changes: Option<Changes>,
    ) -> Self {
        let d = delivered.clone();
        Self {
            schema: SCHEMA.to_owned(),
            namespace: owner.namespace.clone(),
            name: owner.name.clone(),
            repository: d.repository,
            branch: d.branch,
            commit: d.commit.map(|c| Commit {
                id: c.id,
                message: c.message,
                url: c.url,
            }),
            account: place.account.clone(),
            region: place.region.clone(),
            bucket: d.bucket,
            prefix: d.prefix,
            execution: d.execution,
            delivered_at: d.at,
            changes,
        }
    }

    /// The message's text, as JSON.
    pub fn body(&self) -> String {
        serde_json::to_string(self).expect("an announcement is JSON")
    }

    /// The message's attributes, on which subscriptions may filter.
    /// <https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html>
    pub fn attributes(&self) -> BTreeMap<&'static str, &str> {
        BTreeMap::from([
            ("schema", &*self.schema),
            ("namespace", &*self.namespace),
            ("name", &*self.name),
            ("repository", &*self.repository),
            ("branch", &*self.branch),
            ("bucket", &*self.bucket),
            ("prefix", &*self.prefix),
        ])
    }

    /// The JSON schema of announcements.
    pub fn schema() -> serde_json::Value {
        let mut schema = schemars::schema_for!(Self).to_value();
        schema["$id"] = SCHEMA.into();
        schema["properties"]["schema"]["const"] = SCHEMA.into();
        schema
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::object::Entry;

    #[test]
    fn changes_are_told_as_far_as_there_is_room() {
        let entries = |files: &[(&str, u32)]| -> Entries {
            files
                .iter()
                .map(|(path, crc)| ((*path).to_owned(), Entry { size: 1, crc: *crc }))
                .collect()
        };
        let (before, after) = (
            entries(&[("a", 1), ("b", 1), ("c", 1)]),
            entries(&[("a", 1), ("b", 2), ("d", 1)]),
        );
        let changes = Changes::between(&before, &after, "p", true);
        assert_eq!(
            (changes.changed, changes.deleted),
            (vec!["p/b".into(), "p/d".into()], vec!["p/c".to_owned()])
        );
        assert!(!changes.truncated);
        let many = (0..10_000)
            .map(|n| (format!("{n:020}"), Entry { size: 1, crc: 1 }))
            .collect();
        let changes = Changes::between(&before, &many, "p", false);
        assert!(
            changes.truncated && changes.deleted.len() == 3,
            "{}",
            changes.changed.len()
        );
        assert!(serde_json::to_string(&changes).unwrap().len() < 200_000);
    }
}
