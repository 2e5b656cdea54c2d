//! Who subscribes to the object's own topic, as far as the object says so; others' subscriptions
//! are left alone.

use std::collections::BTreeMap;

use crate::api::condition::Reason;
use crate::api::status::SubscriptionStatus;
use crate::cloud::{Class, Error, Subscription};
use crate::domain::arn;
use crate::domain::arn::{Arn, Audience};
use crate::domain::policy_document;
use crate::domain::word::Word;
use crate::reconcile::converge::{Stop, read_only};
use crate::reconcile::fanout::{Pass, Ready};
use crate::spec::subscriber::{CONFIRMED, EXPIRED, PENDING};

impl Pass<'_> {
    /// Makes the subscriptions what the object says, where everything is looked at.
    pub(crate) async fn subscribe(&mut self, ready: &Ready) -> Result<(), Stop> {
        let wanted = &ready.fanout.notifications.subscribers;
        let recorded = self.object.status().subscriptions;
        self.saw.subscribing.asked = !wanted.is_empty();
        let waits = recorded.iter().any(|s| s.status == PENDING);
        if (!self.saw.full && !waits) || (wanted.is_empty() && recorded.is_empty()) {
            return Ok(());
        }
        let Some(topic) = self.saw.topic.clone().or(self.object.status().topic_arn) else {
            return Ok(());
        };
        match self.make_subscriptions(ready, &topic, recorded).await {
            Ok(()) => Ok(()),
            Err(Stop::Cloud(error))
                if !matches!(error.class, Class::Transient | Class::Throttled) =>
            {
                self.saw.subscribing.told = Some((Reason::SubscribeFailed, failed(&error)));
                Ok(())
            }
            Err(stop) => Err(stop),
        }
    }

    async fn make_subscriptions(
        &mut self,
        ready: &Ready,
        topic: &str,
        recorded: Vec<SubscriptionStatus>,
    ) -> Result<(), Stop> {
        let topics = &ready.cloud.topics;
        let listed = topics.subscriptions(topic).await?;
        let changed =
            self.object.status().applied_generation != self.object.current.metadata.generation;
        let mut next = Vec::new();
        for subscriber in &ready.fanout.notifications.subscribers {
            let same = |protocol: &str, endpoint: &str| {
                protocol == subscriber.protocol.as_str() && endpoint == subscriber.endpoint
            };
            let before = recorded.iter().find(|s| same(&s.protocol, &s.endpoint));
            let found = listed.iter().find(|s| same(&s.protocol, &s.endpoint));
            let (arn, status) = match (found, before) {
                (Some(Subscription { arn: Some(arn), .. }), _) => {
                    let present = topics.subscription(arn).await?;
                    let differs = subscriber.differs(&present);
                    if !differs.is_empty() {
                        self.may_subscribe().await?;
                        topics.configure(arn, &differs).await?;
                    }
                    let pending = present
                        .get("PendingConfirmation")
                        .is_some_and(|p| p == "true");
                    (Some(arn.clone()), if pending { PENDING } else { CONFIRMED })
                }
                (Some(_), _) => (None, PENDING),
                // Whoever has to agree, and did not or does no more, is not asked again and again.
                (None, Some(before))
                    if !changed && (before.status != CONFIRMED || subscriber.is_person()) =>
                {
                    (None, EXPIRED)
                }
                (None, _) => {
                    self.may_subscribe().await?;
                    let arn = topics.subscribe(topic, subscriber).await?;
                    // Where nobody has to agree, it stands at once; the next look tells.
                    let present = match &arn {
                        Some(arn) => topics.subscription(arn).await?,
                        None => BTreeMap::new(),
                    };
                    let confirmed = present
                        .get("PendingConfirmation")
                        .is_some_and(|p| p == "false");
                    (arn, if confirmed { CONFIRMED } else { PENDING })
                }
            };
            next.push(SubscriptionStatus {
                protocol: subscriber.protocol.as_str().to_owned(),
                endpoint: subscriber.endpoint.clone(),
                arn,
                status: status.to_owned(),
            });
        }
        for old in &recorded {
            let wanted = next
                .iter()
                .any(|s| (&s.protocol, &s.endpoint) == (&old.protocol, &old.endpoint));
            let there = listed.iter().any(|s| s.arn.is_some() && s.arn == old.arn);
            if let Some(arn) = old.arn.as_ref().filter(|_| !wanted && there) {
                self.may_subscribe().await?;
                topics.unsubscribe(arn).await?;
            }
        }
        let (reason, message) = told(&next, topic, &ready.place.account);
        if !next.is_empty() {
            self.saw.subscribing.told = Some((reason, message));
        }
        self.saw.subscriptions = Some(next);
        Ok(())
    }

    /// Before anything is written: the object is still what was read.
    async fn may_subscribe(&mut self) -> Result<(), Stop> {
        if self.context.settings.read_only {
            return Err(read_only("change subscriptions"));
        }
        Ok(self.object.confirm_status(self.object.status()).await?)
    }
}

fn told(all: &[SubscriptionStatus], topic: &str, account: &str) -> (Reason, String) {
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
                "{who} did not confirm in time, or has unsubscribed; change the entry, or remove \
                     and add it, to ask once more"
            ),
            ("sqs", _) => {
                let statement = policy_document::receive(endpoint, topic);
                format!(
                    "{who}: its owner confirms by the SubscribeURL of the message in the queue, \
                         whose policy needs {statement}"
                )
            }
            ("email" | "email-json", _) => format!("{who}: click the link of the mail from AWS"),
            _ => format!("{who}: call the SubscribeURL of the message that was sent there"),
        });
    }
    // What we cannot see: a queue in the account takes messages only if its own policy lets the
    // topic in.
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
            (Reason::Subscribed, message)
        }
        false => (Reason::SubscriptionPending, waiting.join("; ")),
    }
}

fn failed(error: &Error) -> String {
    let code = error
        .code
        .as_ref()
        .map(|code| format!(" ({code})"))
        .unwrap_or_default();
    let advice = match error.class {
        Class::Denied => {
            "; take what `repofanout iam-policy` prints, and see whether the endpoint's own \
                 policy lets SNS in"
        }
        _ => "; see that the endpoint is there and its ARN or URL is right",
    };
    format!(
        "{} was refused{code}: {}{advice}",
        error.call,
        arn::filter(&error.message, Audience::Own(&[]))
    )
}
