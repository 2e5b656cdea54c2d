//! Writes of policies that others share. AWS takes a document only if it knows every principal in
//! it: of a role or user that was deleted it shows the unique id, and refuses to take that back, and
//! of one that was made seconds ago it does not know yet. What is refused is tried again for a
//! while, by the object's schedule; then it is written without the principals that AWS does not
//! know.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde_json::Value;

use crate::cloud::{Class, Error, Result, Written};
use crate::domain::policy_document;

/// How long AWS may take to know a principal that was just made.
const YOUNG: Duration = Duration::from_secs(30);
/// How long a principal that AWS does not know is left out before it is tried again.
const LEFT_OUT: Duration = Duration::from_secs(3600);

/// A write of a document; one that AWS refuses for a principal fails with
/// [`Class::UnknownPrincipal`].
pub(super) trait Put<'a>: Fn(Value) -> BoxFuture<'a, Result<()>> + Send + Sync {}

impl<'a, F: Fn(Value) -> BoxFuture<'a, Result<()>> + Send + Sync> Put<'a> for F {}

/// What AWS refused of the documents that this process wrote, each by the resource and the Sid of
/// our first statement in it; and who was gone from them, by the id alone.
#[derive(Default)]
pub(super) struct Refusals(Mutex<HashMap<(String, String), Refusal>>);

#[derive(Default)]
struct Refusal {
    /// When the document was refused first, until it is accepted.
    since: Option<Instant>,
    /// Our principals of which AWS may not know one, and since when.
    suspected: BTreeMap<String, Instant>,
    /// Our principals that AWS does not know, and when it was last asked.
    unknown: BTreeMap<String, Instant>,
}

impl Refusals {
    fn with<T>(&self, key: &(String, String), f: impl FnOnce(&mut Refusal) -> T) -> T {
        let mut all = self.0.lock().expect("no panic while held");
        f(all.entry(key.clone()).or_default())
    }

    /// Notes that a document was refused; returns whether that has been so for too long.
    fn refused(&self, key: &(String, String)) -> bool {
        self.with(key, |refusal| {
            refusal.since.get_or_insert_with(Instant::now).elapsed() >= YOUNG
        })
    }

    /// Notes that AWS may not know one of these; returns whether none of them can be too young for
    /// it any more.
    fn suspected(&self, key: &(String, String), all: &BTreeSet<String>) -> bool {
        self.with(key, |refusal| {
            let mut old = true;
            for one in all {
                let since = refusal.suspected.entry(one.clone());
                old &= since.or_insert_with(Instant::now).elapsed() >= YOUNG;
            }
            old
        })
    }

    /// Notes that AWS accepted a document, and so knows every principal that it names.
    fn accepted(&self, key: &(String, String), document: &Value) {
        let known = policy_document::named(document);
        let mut all = self.0.lock().expect("no panic while held");
        if let Some(refusal) = all.get_mut(key) {
            refusal.since = None;
            refusal.suspected.retain(|one, _| !known.contains(one));
            refusal.unknown.retain(|one, _| !known.contains(one));
            if refusal.suspected.is_empty() && refusal.unknown.is_empty() {
                all.remove(key);
            }
        }
    }

    fn left_out(&self, key: &(String, String), unknown: BTreeSet<String>) {
        self.with(key, |refusal| {
            for one in unknown {
                refusal.suspected.remove(&one);
                refusal.unknown.insert(one, Instant::now());
            }
        });
    }

    /// The principals of ours that AWS lately did not know.
    pub(super) fn unknown(&self, resource: &str, sid: &str) -> BTreeSet<String> {
        let all = self.0.lock().expect("no panic while held");
        let refusal = all.get(&(resource.to_owned(), sid.to_owned()));
        let unknown = refusal.into_iter().flat_map(|refusal| &refusal.unknown);
        let lately = unknown.filter(|(_, asked)| asked.elapsed() < LEFT_OUT);
        lately.map(|(one, _)| one.clone()).collect()
    }

    /// Writes a document, at last without the principals that are gone for good. One that names none
    /// of those and is refused for too long is invalid for another reason: SQS says the same then.
    pub(super) async fn put<'a>(
        &self,
        place: (&str, &str),
        document: &Value,
        put: &impl Put<'a>,
    ) -> Result<Written> {
        let key = (place.0.to_owned(), place.1.to_owned());
        let dead = policy_document::without(document, policy_document::is_gone).1;
        match self.put_whole(place, document, put).await {
            Err(error)
                if error.class == Class::UnknownPrincipal
                    && dead.is_empty()
                    && self.refused(&key) =>
            {
                Err(Error {
                    class: Class::Invalid,
                    ..error
                })
            }
            answer => answer,
        }
    }

    async fn put_whole<'a>(
        &self,
        (resource, sid): (&str, &str),
        document: &Value,
        put: &impl Put<'a>,
    ) -> Result<Written> {
        let key = (resource.to_owned(), sid.to_owned());
        let error = match put(document.clone()).await {
            Err(error) if error.class == Class::UnknownPrincipal => error,
            answer => {
                if answer.is_ok() {
                    self.accepted(&key, document);
                }
                let document = document.clone();
                return answer.map(|()| Written::whole(document));
            }
        };
        let (rest, gone) = policy_document::without(document, policy_document::is_gone);
        // A principal that is gone from one document is gone from all.
        let mut known_gone = true;
        for one in &gone {
            known_gone &= self.refused(&(one.principal.clone(), String::new()));
        }
        let long = self.refused(&key);
        if gone.is_empty() || !(long || known_gone) {
            return Err(error);
        }
        put(rest.clone()).await?;
        self.accepted(&key, &rest);
        Ok(Written {
            document: rest,
            gone,
        })
    }

    /// Writes a document with these statements of ours, at last without the principals of ours that
    /// AWS does not know. Each is tried alone, because AWS does not say which one it means.
    pub(super) async fn put_ours<'a>(
        &self,
        resource: &str,
        present: Option<&Value>,
        (sids, ours): (&[String], &[Value]),
        put: &impl Put<'a>,
    ) -> Result<Written> {
        let sid = sids.first().map_or("", String::as_str);
        let key = (resource.to_owned(), sid.to_owned());
        let whole = policy_document::replace(present, sids, ours);
        let error = match self.put_whole((resource, sid), &whole, put).await {
            Err(error) if error.class == Class::UnknownPrincipal => error,
            answer => return answer,
        };
        let (others, gone) = policy_document::without(&whole, policy_document::is_gone);
        let there = policy_document::ours(present, sids);
        let there = policy_document::principals(&there);
        let (mut known, young): (BTreeSet<String>, BTreeSet<String>) =
            policy_document::principals(ours)
                .into_iter()
                .partition(|one| there.contains(one));
        if young.is_empty() || !self.suspected(&key, &young) {
            return Err(error);
        }
        let document = |known: &BTreeSet<String>| {
            let unknown = |one: &str| one != "*" && !known.contains(one);
            let (ours, _) = policy_document::leave_out(ours, unknown);
            policy_document::replace(Some(&others), sids, &ours)
        };
        let (mut unknown, mut written) = (BTreeSet::new(), present.cloned());
        for one in &young {
            known.insert(one.clone());
            // If there is only one, AWS has refused it already.
            let tried = match young.len() {
                1 => Ok(false),
                _ => match put(document(&known)).await {
                    Ok(()) => Ok(true),
                    Err(error) if error.class == Class::UnknownPrincipal => Ok(false),
                    Err(error) => Err(error),
                },
            };
            if tried? {
                written = Some(document(&known));
            } else {
                known.remove(one);
                unknown.insert(one.clone());
            }
        }
        let rest = document(&known);
        if !written.is_some_and(|written| policy_document::same(&written, &rest)) {
            put(rest.clone()).await?;
        }
        self.accepted(&key, &rest);
        self.left_out(&key, unknown);
        Ok(Written {
            document: rest,
            gone,
        })
    }
}
