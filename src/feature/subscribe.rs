//! Subscriptions to the object's own topic that the spec lists. Subscriptions that somebody else
//! created are left alone.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde_json::Value;

use crate::api::RepoFanout;
use crate::api::condition::Reason;
use crate::api::status::{RepoFanoutStatus, SubscriptionStatus};
use crate::cloud::Subscription;
use crate::cloud::advice::Activity;
use crate::domain::arn::Arn;
use crate::domain::policy_document;
use crate::domain::word::Word;
use crate::feature::{Outcome, failed};
use crate::resource::scope::{Scope, allow};
use crate::spec::subscriber::{CONFIRMED, EXPIRED, PENDING, Subscriber};
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::stop::Stop;
use crate::state::target::Target;

/// The result of the feature in one pass.
#[derive(Debug, Default)]
pub struct Subscribed {
    /// The new verdict of the condition.
    pub outcome: Outcome,
    /// The subscriptions as they are now, if they were observed.
    pub subscriptions: Option<Vec<SubscriptionStatus>>,
}

/// Creates, updates and deletes subscriptions until they match the spec. A `full` pass observes
/// them, and every pass does while one waits for its confirmation.
pub async fn run(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    topic: Option<&str>,
    full: bool,
) -> Result<Subscribed, Stop> {
    let status = live.status();
    let recorded = status.subscriptions;
    let asked = !target.fanout.notifications.subscribers.is_empty();
    let outcome = Outcome {
        asked,
        verdict: None,
    };
    let waits = recorded.iter().any(|s| s.status == PENDING);
    let nothing = !asked && recorded.is_empty();
    let Some(topic) = topic.map(str::to_owned).or(status.topic_arn) else {
        return Ok(Subscribed {
            outcome,
            subscriptions: None,
        });
    };
    if (!full && !waits) || nothing {
        return Ok(Subscribed {
            outcome,
            subscriptions: None,
        });
    }
    match converge(env, live, target, &topic, &recorded).await {
        Ok(next) => {
            let outcome = if asked {
                describe(&next, &topic, &target.place.account)
            } else {
                outcome
            };
            Ok(Subscribed {
                outcome,
                subscriptions: Some(next),
            })
        }
        Err(Stop::Cloud(error)) if !error.class.is_passing() => {
            let parties = target.parties(live.operator());
            let situation = parties.situation(Activity::Subscribe, Some(&target.place));
            let message = failed(
                &error,
                &situation,
                "the subscriptions are not as the spec says yet",
                "deliveries are",
            );
            let verdict = Outcome::of(Reason::SubscribeFailed, message).verdict;
            Ok(Subscribed {
                outcome: Outcome { asked, verdict },
                subscriptions: None,
            })
        }
        Err(stop) => Err(stop),
    }
}

async fn converge(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    topic: &str,
    recorded: &[SubscriptionStatus],
) -> Result<Vec<SubscriptionStatus>, Stop> {
    let topics = &target.cloud.topics;
    let listed = topics.subscriptions(topic).await?;
    let changed = live.status().applied_generation != live.current.metadata.generation;
    let is_young = env.pace.is_young(live.status().last_created_at, target.now);
    let mut next = Vec::new();
    for subscriber in &target.fanout.notifications.subscribers {
        let same = |protocol: &str, endpoint: &str| {
            protocol == subscriber.protocol.as_str() && endpoint == subscriber.endpoint
        };
        let before = recorded.iter().find(|s| same(&s.protocol, &s.endpoint));
        let found = listed.iter().find(|s| same(&s.protocol, &s.endpoint));
        let (arn, status) = match (found, before) {
            (Some(Subscription { arn: Some(arn), .. }), _) => {
                let status = configure(env, live, target, subscriber, arn).await?;
                (Some(arn.clone()), status)
            }
            (Some(_), _) => (None, PENDING),
            // SNS lists a new subscription late: it has not expired.
            (None, Some(before)) if before.status == PENDING && is_young => (None, PENDING),
            // A subscriber that did not confirm, or has unsubscribed, is not asked again and again.
            (None, Some(before))
                if !changed && (before.status != CONFIRMED || subscriber.is_person()) =>
            {
                (None, EXPIRED)
            }
            (None, _) => subscribe(env, live, target, subscriber, topic).await?,
        };
        next.push(SubscriptionStatus {
            protocol: subscriber.protocol.as_str().to_owned(),
            endpoint: subscriber.endpoint.clone(),
            arn,
            status: status.to_owned(),
        });
    }
    for old in recorded {
        let same =
            |s: &&SubscriptionStatus| s.protocol == old.protocol && s.endpoint == old.endpoint;
        let wanted = next.iter().any(|s| same(&s));
        let there = listed.iter().any(|s| s.arn.is_some() && s.arn == old.arn);
        if let Some(arn) = old.arn.as_ref().filter(|_| !wanted && there) {
            before_write(env, live, live.status()).await?;
            topics.unsubscribe(arn).await?;
        }
    }
    Ok(next)
}

/// Writes the attributes of a subscription that differ. Returns its status.
async fn configure(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    subscriber: &Subscriber,
    arn: &str,
) -> Result<&'static str, Stop> {
    let topics = &target.cloud.topics;
    let present = topics.subscription(arn).await?;
    let differs = subscriber.differs(&present);
    if !differs.is_empty() {
        before_write(env, live, live.status()).await?;
        topics.configure(arn, &differs).await?;
    }
    let pending = present
        .get("PendingConfirmation")
        .is_some_and(|p| p == "true");
    Ok(if pending { PENDING } else { CONFIRMED })
}

/// Creates a subscription. Returns its ARN, if it has one, and its status.
async fn subscribe(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    subscriber: &Subscriber,
    topic: &str,
) -> Result<(Option<String>, &'static str), Stop> {
    let next = RepoFanoutStatus {
        last_created_at: Some(Timestamp::now()),
        ..live.status()
    };
    before_write(env, live, next).await?;
    let topics = &target.cloud.topics;
    let arn = topics.subscribe(topic, subscriber).await?;
    // If nobody has to confirm, SNS confirms it at once, and its attributes show that.
    let present = match &arn {
        Some(arn) => topics.subscription(arn).await?,
        None => BTreeMap::new(),
    };
    let confirmed = present
        .get("PendingConfirmation")
        .is_some_and(|p| p == "false");
    Ok((arn, if confirmed { CONFIRMED } else { PENDING }))
}

/// Checks, before a write to AWS, that the object is still the one that this pass read, and writes
/// this status to it.
async fn before_write(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    next: RepoFanoutStatus,
) -> Result<(), Stop> {
    if env.settings().read_only {
        return Err(Stop::read_only("change subscriptions"));
    }
    Ok(live.confirm_status(next).await?)
}

fn describe(all: &[SubscriptionStatus], topic: &str, account: &str) -> Outcome {
    let mut waiting = Vec::new();
    for subscription in all.iter().filter(|s| s.status != CONFIRMED) {
        let SubscriptionStatus {
            protocol,
            endpoint,
            status,
            ..
        } = subscription;
        let who = format!("{protocol} {endpoint}");
        waiting.push(match (&**protocol, status == EXPIRED) {
            (_, true) => format!(
                "{who} did not confirm in time, or has unsubscribed; to ask again, change the \
                     entry, or remove it and add it again"
            ),
            ("sqs", _) => {
                let statement = policy_document::receive(endpoint, topic);
                format!(
                    "{who} has to be confirmed by the owner of the queue: open the SubscribeURL \
                         in the message that SNS sent to the queue. The queue's policy has to \
                         contain {statement}"
                )
            }
            ("email" | "email-json", _) => {
                format!("{who} has to confirm: click the link in the mail from AWS")
            }
            _ => format!(
                "{who} has to confirm: open the SubscribeURL in the message that SNS sent there"
            ),
        });
    }
    // A queue in the account takes messages only if its own policy lets the topic in, and the
    // operator does not read that policy.
    let queues = all.iter().filter(|s| {
        s.protocol == "sqs" && Arn::parse(&s.endpoint).is_some_and(|a| a.account == account)
    });
    let hint = queues.count() > 0;
    match waiting.is_empty() {
        true => {
            let mut message = format!("{} subscriptions are confirmed", all.len());
            if hint {
                message += "; the policy of each queue has to let sns.amazonaws.com send with \
                     this topic as aws:SourceArn";
            }
            Outcome::of(Reason::Subscribed, message)
        }
        false => Outcome::of(Reason::SubscriptionPending, waiting.join("; ")),
    }
}

/// IAM statements of the operator for subscriptions.
pub(super) fn statements(scope: &Scope) -> Vec<Value> {
    // SNS knows no resource for these.
    let subscriptions = [
        "sns:GetSubscriptionAttributes",
        "sns:SetSubscriptionAttributes",
        "sns:Unsubscribe",
    ];
    vec![
        allow("Subscribe", "sns:Subscribe", scope.named("sns")),
        allow("Subscriptions", subscriptions, "*"),
    ]
}
