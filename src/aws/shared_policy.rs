//! Writes of policies that others share. AWS takes a document only if it knows every principal in
//! it: of a role or user that was deleted it shows the unique id, and refuses to take that back, and
//! of one that was made seconds ago it does not know yet. What is refused is tried again for a
//! while, by the object's schedule; then it is written without whom AWS does not know.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>

use std::collections::{BTreeSet, HashMap};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use serde_json::Value;

use crate::cloud::{Class, Result, Written};
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

struct Refusal {
    /// When the document was refused first.
    since: Instant,
    /// The principals of ours that AWS does not know, and when it was last asked.
    unknown: BTreeSet<String>,
    asked: Instant,
}

impl Refusals {
    /// Notes that a document was refused; returns whether that has been so for too long.
    fn refused(&self, key: &(String, String)) -> bool {
        let mut all = self.0.lock().expect("no panic while held");
        let now = Instant::now();
        let refusal = all.entry(key.clone()).or_insert_with(|| Refusal {
            since: now,
            unknown: BTreeSet::new(),
            asked: now,
        });
        refusal.since.elapsed() >= YOUNG
    }

    fn taken(&self, key: &(String, String)) {
        self.0.lock().expect("no panic while held").remove(key);
    }

    fn left_out(&self, key: &(String, String), unknown: BTreeSet<String>) {
        let mut all = self.0.lock().expect("no panic while held");
        if let Some(refusal) = all.get_mut(key) {
            refusal.unknown = unknown;
            refusal.asked = Instant::now();
        }
    }

    /// The principals of ours that AWS lately did not know.
    pub(super) fn unknown(&self, resource: &str, sid: &str) -> BTreeSet<String> {
        let all = self.0.lock().expect("no panic while held");
        let refusal = all.get(&(resource.to_owned(), sid.to_owned()));
        refusal
            .filter(|refusal| refusal.asked.elapsed() < LEFT_OUT)
            .map(|refusal| refusal.unknown.clone())
            .unwrap_or_default()
    }

    /// Writes a document, at last without the principals that are gone for good.
    pub(super) async fn put<'a>(
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
                    self.taken(&key);
                }
                let document = document.clone();
                return answer.map(|()| Written::whole(document));
            }
        };
        let (rest, gone) = policy_document::without(document, policy_document::is_gone);
        // Who is gone from one document is gone from all.
        let mut known_gone = true;
        for one in &gone {
            known_gone &= self.refused(&(one.principal.clone(), String::new()));
        }
        if gone.is_empty() || !(self.refused(&key) | known_gone) {
            return Err(error);
        }
        put(rest.clone()).await?;
        self.taken(&key);
        Ok(Written {
            document: rest,
            gone,
        })
    }

    /// Writes a document with these statements of ours, at last without whom of those AWS does not
    /// know, each of whom is tried alone: AWS does not tell whom it means.
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
        let error = match self.put((resource, sid), &whole, put).await {
            Err(error) if error.class == Class::UnknownPrincipal && self.refused(&key) => error,
            answer => return answer,
        };
        let (others, gone) = policy_document::without(&whole, policy_document::is_gone);
        let there = policy_document::ours(present, sids);
        let there = policy_document::principals(&there);
        let (mut known, young): (BTreeSet<String>, BTreeSet<String>) =
            policy_document::principals(ours)
                .into_iter()
                .partition(|one| there.contains(one));
        if young.is_empty() {
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
            // One alone is whom AWS has refused already.
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
        self.left_out(&key, unknown);
        Ok(Written {
            document: rest,
            gone,
        })
    }
}
