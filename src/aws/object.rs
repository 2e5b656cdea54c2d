//! Files in S3: the copied files, and the source artifact, a zip of which only the end is read.

use std::io::{self, Read, Seek, SeekFrom};

use async_trait::async_trait;
use aws_sdk_s3::types::{Delete, EncodingType, MetadataDirective, ObjectIdentifier};
use futures::stream::{self, StreamExt};
use percent_encoding::{NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use zip::ZipArchive;
use zip::read::{ArchiveOffset, Config, ZipArchiveMetadata};

use crate::aws::{Clients, found, incomplete, timestamp, unbuildable};
use crate::cloud;
use crate::cloud::{Class, Objects, Result};
use crate::domain::object::{Entries, Entry, Object, without_controls};

/// Number of bytes at the end of a zip that are read first: its last record with the longest
/// comment, and the records that a reader searches before it.
const END: u64 = 128 << 10;
/// Size limit of a zip's directory, in bytes. A directory of 100,000 files, CodePipeline's limit,
/// is shorter.
/// <https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html>
const LONGEST: u64 = 64 << 20;
/// Number of keys that are deleted at the same time where each has a request of its own.
const SINGLE: usize = 8;
const CALL: &str = "s3:GetObject";

#[async_trait]
impl Objects for Clients {
    async fn list(&self, bucket: &str, prefix: &str) -> Result<Vec<Object>> {
        const CALL: &str = "s3:ListBucket";
        let list = self
            .s3
            .list_objects_v2()
            .bucket(bucket)
            .prefix(prefix)
            .encoding_type(EncodingType::Url)
            .expected_bucket_owner(&self.account);
        let pages = self.pages(CALL, list.into_paginator().send()).await?;
        let objects = pages.iter().flat_map(|page| page.contents()).map(|o| {
            Some(Object {
                key: decoded(o.key()?),
                etag: o.e_tag()?.to_owned(),
                size: o.size().and_then(|size| u64::try_from(size).ok())?,
                modified: timestamp(o.last_modified()),
            })
        });
        objects
            .collect::<Option<_>>()
            .ok_or_else(|| incomplete(CALL, "key, ETag or size of an object"))
    }

    async fn delete(&self, bucket: &str, objects: &[Object]) -> Result<usize> {
        const CALL: &str = "s3:DeleteObject";
        let identifiers = objects.iter().map(|o| {
            ObjectIdentifier::builder()
                .key(&o.key)
                .e_tag(&o.etag)
                .build()
        });
        let identifiers = identifiers
            .collect::<std::result::Result<Vec<_>, _>>()
            .map_err(unbuildable(CALL))?;
        let kept = self.delete_keys(CALL, bucket, identifiers).await?;
        // A file that is missing or was replaced since is not ours to delete.
        let ours = |code: Option<&str>| {
            !matches!(code, Some("PreconditionFailed" | "NoSuchKey" | "NotFound"))
        };
        if let Some(first) = kept.iter().find(|kept| ours(kept.code.as_deref())) {
            return Err(first.error(CALL, kept.len(), objects.len()));
        }
        Ok(objects.len() - kept.len())
    }

    async fn entries(&self, bucket: &str, key: &str) -> Result<Option<Entries>> {
        self.zip_entries(bucket, key).await
    }

    async fn refresh(&self, bucket: &str, key: &str) -> Result<bool> {
        let source = format!("{bucket}/{}", utf8_percent_encode(key, NON_ALPHANUMERIC));
        let copy = self
            .s3
            .copy_object()
            .bucket(bucket)
            .key(key)
            .copy_source(source);
        // S3 rejects a copy of an object onto itself unless something differs, so the metadata is
        // replaced.
        let copy = copy
            .metadata_directive(MetadataDirective::Replace)
            .expected_bucket_owner(&self.account);
        Ok(found(self.call("s3:PutObject", copy.send()).await)?.is_some())
    }
}

/// A key that was not deleted, and S3's code and words for the reason. A response with status 200
/// can report such keys, too.
pub(super) struct Kept {
    key: String,
    code: Option<String>,
    message: String,
}

impl Kept {
    /// The error of a deletion of so many keys, of which so many are kept, this one first.
    pub(super) fn error(&self, call: &'static str, kept: usize, count: usize) -> cloud::Error {
        cloud::Error {
            class: if self.code.as_deref() == Some("AccessDenied") {
                Class::Denied
            } else {
                Class::Transient
            },
            call,
            code: self.code.clone(),
            // The words of the first key tell which policy denies.
            message: format!(
                "{kept} of {count} keys were not deleted, such as {}: {}",
                without_controls(&self.key),
                self.message
            ),
            request_id: None,
        }
    }
}

/// The key of a list that was asked for in URL encoding, in which a space is a plus.
/// <https://docs.aws.amazon.com/AmazonS3/latest/API/API_ListObjectsV2.html>
pub(super) fn decoded(key: &str) -> String {
    let spaced = key.replace('+', " ");
    percent_decode_str(&spaced).decode_utf8_lossy().into_owned()
}

/// Whether XML 1.0 has a way to say this key: most control characters it has not.
/// <https://www.w3.org/TR/xml/#charsets>
fn is_in_xml(key: &str) -> bool {
    key.chars().all(|c| {
        !matches!(c, '\0'..='\u{8}' | '\u{b}' | '\u{c}' | '\u{e}'..='\u{1f}' | '\u{fffe}' | '\u{ffff}')
    })
}

impl Clients {
    /// Deletes up to 1,000 keys or versions, and returns those that S3 kept. One request names them
    /// all; keys that XML cannot hold, and all of a batch that S3 takes for malformed, have a request
    /// of their own each, where the key is part of the URL.
    /// <https://github.com/boto/boto3/issues/2005>
    pub(super) async fn delete_keys(
        &self,
        call: &'static str,
        bucket: &str,
        keys: Vec<ObjectIdentifier>,
    ) -> Result<Vec<Kept>> {
        let (batch, mut single): (Vec<_>, Vec<_>) =
            keys.into_iter().partition(|one| is_in_xml(one.key()));
        let mut kept = Vec::new();
        if !batch.is_empty() {
            let delete = Delete::builder()
                .set_objects(Some(batch.clone()))
                .quiet(true)
                .build()
                .map_err(unbuildable(call))?;
            let delete = self
                .s3
                .delete_objects()
                .bucket(bucket)
                .expected_bucket_owner(&self.account)
                .delete(delete);
            match self.call(call, delete.send()).await {
                Ok(answer) => kept.extend(answer.errors().iter().map(|error| Kept {
                    key: error.key().unwrap_or("?").to_owned(),
                    code: error.code().map(str::to_owned),
                    message: error.message().unwrap_or("no message").to_owned(),
                })),
                Err(error) if error.code.as_deref() == Some("MalformedXML") => single.extend(batch),
                Err(error) => return Err(error),
            }
        }
        let deletions = single
            .into_iter()
            .map(|one| self.delete_key(call, bucket, one));
        let mut answers = stream::iter(deletions).buffer_unordered(SINGLE);
        while let Some(answer) = answers.next().await {
            kept.extend(answer?);
        }
        Ok(kept)
    }

    async fn delete_key(
        &self,
        call: &'static str,
        bucket: &str,
        one: ObjectIdentifier,
    ) -> Result<Option<Kept>> {
        let delete = self
            .s3
            .delete_object()
            .bucket(bucket)
            .key(one.key())
            .set_version_id(one.version_id().map(str::to_owned))
            .set_if_match(one.e_tag().map(str::to_owned))
            .expected_bucket_owner(&self.account);
        match self.call(call, delete.send()).await {
            Ok(_) => Ok(None),
            // What concerns the key alone is told beside what a batch tells.
            Err(error)
                if error.code.is_some()
                    && matches!(
                        error.class,
                        Class::Denied | Class::NotFound | Class::Invalid
                    ) =>
            {
                Ok(Some(Kept {
                    key: one.key().to_owned(),
                    code: error.code,
                    message: error.message,
                }))
            }
            Err(error) => Err(error),
        }
    }

    /// Returns the files of the zip, or `None` if the object does not exist.
    async fn zip_entries(&self, bucket: &str, key: &str) -> Result<Option<Entries>> {
        let Some((mut tail, len)) = self.part(bucket, key, &format!("bytes=-{END}")).await? else {
            return Ok(None);
        };
        loop {
            let start = len - tail.len() as u64;
            let mut end = End {
                bytes: &tail,
                start,
                at: 0,
                wanted: None,
            };
            let config = Config {
                archive_offset: ArchiveOffset::Known(0),
            };
            let broken = |message: String| cloud::Error {
                class: Class::Invalid,
                call: CALL,
                code: None,
                message: format!("s3://{bucket}/{key} is not read as a zip: {message}"),
                request_id: None,
            };
            let wanted = match ZipArchive::with_config(config, &mut end) {
                Ok(archive) => {
                    return files(&archive.metadata())
                        .map(Some)
                        .map_err(|e| broken(e.to_string()));
                }
                Err(error) => end.wanted.ok_or_else(|| broken(error.to_string()))?,
            };
            if len - wanted > LONGEST {
                return Err(broken(format!(
                    "its directory is longer than {LONGEST} bytes"
                )));
            }
            let range = format!("bytes={wanted}-{}", start - 1);
            let Some((mut before, _)) = self.part(bucket, key, &range).await? else {
                return Ok(None);
            };
            before.append(&mut tail);
            tail = before;
        }
    }

    /// Reads a range of an object, and returns it with the size of the whole object.
    async fn part(&self, bucket: &str, key: &str, range: &str) -> Result<Option<(Vec<u8>, u64)>> {
        let get = self
            .s3
            .get_object()
            .bucket(bucket)
            .key(key)
            .range(range)
            .expected_bucket_owner(&self.account)
            .send();
        let Some(answer) = found(self.call(CALL, get).await)? else {
            return Ok(None);
        };
        // A response without a range contains the whole object.
        let len = answer
            .content_range()
            .and_then(|range| range.rsplit('/').next()?.parse().ok());
        let body = answer
            .body
            .collect()
            .await
            .map_err(|_| incomplete(CALL, "the object"))?
            .to_vec();
        let len = len.unwrap_or(body.len() as u64);
        Ok(Some((body, len)))
    }
}

fn files(directory: &ZipArchiveMetadata) -> zip::result::ZipResult<Entries> {
    let mut entries = Entries::with_capacity(directory.len());
    for index in 0..directory.len() {
        let file = directory.entry(index)?;
        if !file.is_dir() {
            entries.insert(
                file.name()?.into_owned(),
                Entry {
                    size: file.size(),
                    crc: file.crc32(),
                },
            );
        }
    }
    Ok(entries)
}

/// The end of a file, presented as the whole file. It records reads that start before that end.
struct End<'a> {
    bytes: &'a [u8],
    start: u64,
    at: u64,
    wanted: Option<u64>,
}

impl Read for &mut End<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(offset) = self.at.checked_sub(self.start) else {
            self.wanted = Some(self.at);
            return Err(io::Error::other("before the part that was read"));
        };
        let rest = usize::try_from(offset)
            .ok()
            .and_then(|offset| self.bytes.get(offset..))
            .unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for &mut End<'_> {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let len = self.start + self.bytes.len() as u64;
        let at = match to {
            SeekFrom::Start(at) => Some(at),
            SeekFrom::End(by) => len.checked_add_signed(by),
            SeekFrom::Current(by) => self.at.checked_add_signed(by),
        };
        self.at = at.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        Ok(self.at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_as_a_form_writes_them_and_told_apart_by_what_xml_has() {
        assert_eq!(decoded("a/%C3%BC+b%2Bc%01.txt"), "a/ü b+c\u{1}.txt");
        for (key, is_in) in [
            ("a\tb\nc\r", true),
            ("ü\u{85}\u{10000}", true),
            ("\u{1}", false),
            ("a\u{b}", false),
            ("\u{ffff}", false),
        ] {
            assert_eq!(is_in_xml(key), is_in, "{key:?}");
        }
    }

    #[test]
    fn a_key_that_is_not_deleted_is_told_with_the_words_of_s3() {
        let words = "User: u is not authorized to perform: s3:DeleteObject because no service \
                     control policy allows the s3:DeleteObject action";
        let first = Kept {
            key: "a/b".to_owned(),
            code: Some("AccessDenied".to_owned()),
            message: words.to_owned(),
        };
        let error = first.error("s3:DeleteObject", 2, 3);
        assert_eq!(error.class, Class::Denied);
        assert_eq!(
            error.message,
            format!("2 of 3 keys were not deleted, such as a/b: {words}")
        );
    }
}
