//! Roles and users that policies of buckets, topics and queues name. AWS keeps their unique ids: of
//! one that was deleted it shows the id in the place of the ARN, and it takes no document that names
//! somebody who is gone, or was made seconds ago. A principal that no test deletes or delays is
//! known.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_elements_principal.html>;
//! the words as in terraform-provider-aws#26041 (SNS), #42209 (SQS) and
//! modernisation-platform#6057 (S3).

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Instant;

use bytes::Bytes;

use crate::enforce::fields;
use crate::reply::Failure;
use crate::rules::Sent;

/// All of them, and when documents were written last.
#[derive(Default)]
pub struct Principals(Mutex<Known>);

#[derive(Default)]
struct Known {
    by_arn: BTreeMap<String, Principal>,
    /// By bucket, topic or queue.
    written: BTreeMap<String, Instant>,
}

#[derive(Default)]
struct Principal {
    /// Its ids so far, each with the time of its deletion.
    gone: Vec<(String, Instant)>,
    exists: bool,
    /// How many documents are still refused because it is young.
    young: u32,
}

impl Principals {
    fn with<T>(&self, f: impl FnOnce(&mut Known) -> T) -> T {
        f(&mut self.0.lock().expect("no panic while held"))
    }

    /// Deletes a role or user; tells the id that AWS shows from now on.
    pub fn delete(&self, arn: &str) -> String {
        self.with(|known| {
            let prefix = if arn.contains(":user/") {
                "AIDA"
            } else {
                "AROA"
            };
            let number: usize = known.by_arn.values().map(|p| p.gone.len()).sum();
            let id = format!("{prefix}EXAMPLE{number:010}");
            let one = known.by_arn.entry(arn.to_owned()).or_default();
            one.exists = false;
            one.gone.push((id.clone(), Instant::now()));
            id
        })
    }

    /// Makes it, or makes it again; AWS knows it after so many refusals.
    pub fn create(&self, arn: &str, refusals: u32) {
        self.with(|known| {
            let one = known.by_arn.entry(arn.to_owned()).or_default();
            (one.exists, one.young) = (true, refusals);
        });
    }

    /// Refuses a document that names somebody whom AWS does not know.
    pub fn refuse(&self, sent: &Sent<'_>) -> Result<(), Failure> {
        let brought = document(sent).filter(|_| !sent.operation.contains(":Get"));
        let Some((resource, text)) = brought else {
            return Ok(());
        };
        self.with(|known| {
            for (arn, one) in &mut known.by_arn {
                let named = text.contains(arn.as_str());
                let dead = one.gone.iter().any(|(id, _)| text.contains(id.as_str()));
                let young = named && one.exists && one.young > 0;
                one.young -= u32::from(young);
                if dead || young || (named && !one.exists) {
                    let (code, message) = match &*sent.caller.service {
                        "s3" => ("MalformedPolicy", "Invalid principal in policy"),
                        "sns" => (
                            "InvalidParameter",
                            "Invalid parameter: Policy Error: PrincipalNotFound",
                        ),
                        _ => (
                            "InvalidAttributeValue",
                            "Invalid value for the parameter Policy.",
                        ),
                    };
                    return Err(Failure::new(code, message));
                }
            }
            known.written.insert(resource, Instant::now());
            Ok(())
        })
    }

    /// Shows ids in the place of those who are gone since the document was written.
    pub fn shown(&self, sent: &Sent<'_>, mut body: String) -> String {
        let Some((resource, _)) = document(sent) else {
            return body;
        };
        self.with(|known| {
            let written = known.written.get(&resource);
            for (arn, one) in &known.by_arn {
                let since = one
                    .gone
                    .iter()
                    .find(|(_, at)| written.is_none_or(|w| w < at));
                if let Some((id, _)) = since {
                    body = body.replace(arn.as_str(), id);
                }
            }
            body
        })
    }
}

/// The owner of the document that a request writes, and the text that it brings.
fn document(sent: &Sent<'_>) -> Option<(String, String)> {
    let text = |body: &Bytes| String::from_utf8_lossy(body).into_owned();
    match sent.operation {
        "s3:PutBucketPolicy" | "s3:GetBucketPolicy" => {
            Some((sent.parts.uri.path().to_owned(), text(sent.body)))
        }
        "sns:CreateTopic" | "sns:SetTopicAttributes" | "sns:GetTopicAttributes" => {
            let form = fields(sent.body);
            let topic = form.get("TopicArn").or_else(|| form.get("Name"));
            let name = topic?.rsplit(':').next()?.to_owned();
            Some((name, form.into_values().collect::<Vec<_>>().join("\n")))
        }
        "sqs:CreateQueue" | "sqs:SetQueueAttributes" | "sqs:GetQueueAttributes" => {
            let json: serde_json::Value = serde_json::from_slice(sent.body).ok()?;
            let queue = json["QueueUrl"].as_str().or(json["QueueName"].as_str())?;
            let name = queue.rsplit('/').next()?.to_owned();
            Some((name, text(sent.body)))
        }
        _ => None,
    }
}
