//! Desired × observed → ordered steps. Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;

use crate::api::condition::Reason;
use crate::domain::kind::Resource;
use crate::domain::owner::{ADOPTED, Owner, REGION, Tags};
use crate::domain::pattern::Allowed;
use crate::domain::placement::Placement;
use crate::domain::policy_document;
use crate::domain::refusal::Refusal;
use crate::resource::delta;
use crate::resource::delta::Delta;
use crate::resource::desired::{BucketUse, ConnectionUse, Desired, Pipeline, TopicUse};
use crate::resource::observed::{BucketView, ConnectionState, Observed};
use crate::resource::reader_policy::LONGEST_POLICY;

/// One thing to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Step {
    /// To what.
    pub resource: Resource,
    /// What.
    pub action: Action,
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.action {
            Action::Create => write!(f, "create {}", self.resource),
            Action::Update(delta) => write!(f, "update {}: {}", self.resource, delta.describe()),
            Action::DeleteSpare(arn) => write!(f, "delete the spare connection {arn}"),
        }
    }
}

/// What is done to a resource.
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// Make it.
    Create,
    /// Change what differs.
    Update(Delta),
    /// Delete the spare connection with this ARN.
    DeleteSpare(String),
}

/// What is to be done, in order; nothing at all where something is refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// What only a person can mend.
    pub refusals: Vec<Refusal>,
    /// Whether a changed pipeline waits for its running execution to end.
    pub held: bool,
    /// What somebody changed behind the operator's back.
    pub drift: Vec<String>,
    /// What is taken over, and what that changes.
    pub adopted: Vec<String>,
}

/// What the plan has to know beside desired and observed.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Who is to own what is found.
    pub owner: &'a Owner,
    /// Where it is to be.
    pub place: &'a Placement,
    /// Whether an execution runs that a person did not ask to give up by changing the spec.
    pub hold_pipeline: bool,
    /// The topics that the rule reached so far, as recorded: their targets go when the topic
    /// changes.
    pub former_topics: &'a [String],
    /// What may be taken over.
    pub adopt: &'a BTreeSet<Resource>,
    /// What is recorded as made, once the present spec was applied in full: a
    /// difference from here on is somebody else's doing.
    pub settled: Option<&'a BTreeMap<String, String>>,
    /// Whether such a difference is only shown.
    pub detect: bool,
    /// Whether nothing may be written.
    pub read_only: bool,
    /// Whether it is not recorded which spec was applied: what differs from a thing
    /// of ours may then be anybody's doing.
    pub unrecorded: bool,
}

/// The next steps. Applying them and planning again ends in an empty plan.
pub fn plan(desired: &Desired, observed: &Observed, facts: Facts<'_>) -> Plan {
    let mut plan = Plan::default();
    for (resource, bucket, view) in [
        (Resource::Artifacts, &desired.artifacts, &observed.artifacts),
        (
            Resource::Destination,
            &desired.destination,
            &observed.destination,
        ),
    ] {
        if let Some(bucket) = bucket {
            plan.bucket(resource, bucket, view, facts);
        }
    }
    plan.connection(desired, observed, facts);
    plan.topic(desired, observed, facts);
    plan.role(desired, observed, facts);
    plan.pipeline(desired, observed, facts);
    plan.notification_rule(desired, observed, facts);
    plan.readers(desired, observed, facts);
    plan.events(desired, observed, facts);
    if !plan.refusals.is_empty() {
        plan.steps.clear();
    }
    plan
}

impl Plan {
    fn create(&mut self, resource: Resource, facts: Facts<'_>) {
        if facts
            .settled
            .is_some_and(|made| made.contains_key(resource.as_str()))
        {
            self.drift.push(format!("{resource}: somebody deleted it"));
            if facts.detect {
                return;
            }
        }
        self.steps.push(Step {
            resource,
            action: Action::Create,
        });
    }

    fn update(&mut self, resource: Resource, delta: Delta, facts: Facts<'_>) {
        if delta.is_empty() {
            return;
        }
        let told = format!("{resource}: {}", delta.describe());
        if facts.adopt.contains(&resource) && delta.tags().contains_key(ADOPTED) {
            self.adopted.push(told);
        } else if facts
            .settled
            .is_some_and(|made| made.contains_key(resource.as_str()))
            || (facts.detect && facts.unrecorded)
        {
            self.drift.push(told);
            if facts.detect {
                return;
            }
        }
        self.steps.push(Step {
            resource,
            action: Action::Update(delta),
        });
    }

    fn refuse(&mut self, reason: Reason, message: String) {
        self.refusals.push(Refusal::new(reason, message));
    }

    /// Whether the tags are ours; refuses otherwise.
    fn owned(&mut self, resource: Resource, name: &str, tags: &Tags, facts: Facts<'_>) -> bool {
        let owns =
            facts.owner.owns(tags) || (facts.adopt.contains(&resource) && Owner::unowned(tags));
        if !owns {
            self.refuse(
                Reason::NotOwned,
                format!(
                    "{resource} {name} exists already, and {}; it is left untouched. Delete or \
                         rename it, or choose another name",
                    facts.owner.describe_owner(tags)
                ),
            );
        }
        owns
    }

    fn bucket(
        &mut self,
        resource: Resource,
        desired: &BucketUse,
        view: &BucketView,
        facts: Facts<'_>,
    ) {
        let region = &facts.place.region;
        match (desired, view) {
            (BucketUse::Own(_), BucketView::Missing) => self.create(resource, facts),
            (BucketUse::Own(bucket), BucketView::Present(observed)) => {
                if self.owned(
                    resource,
                    &format!("bucket {}", bucket.name),
                    &observed.tags,
                    facts,
                ) {
                    self.update(resource, delta::bucket(bucket, observed), facts);
                }
            }
            (BucketUse::Own(bucket), BucketView::Forbidden) => self.refuse(
                Reason::NotOwned,
                format!(
                    "{resource} bucket {} belongs to another account, or denies this one \
                         s3:ListBucket; bucket names are shared by all of AWS, choose another one",
                    bucket.name
                ),
            ),
            (BucketUse::Own(bucket), BucketView::Elsewhere(other)) => self.refuse(
                Reason::PlacementChanged,
                format!(
                    "{resource} bucket {} exists in region {other}, and this object's region is \
                         {region}; nothing is built a second time. Give the operator its former \
                         region back, or choose another name",
                    bucket.name
                ),
            ),
            (BucketUse::Existing(name), BucketView::Missing) => self.refuse(
                Reason::NotFound,
                format!(
                    "{resource}.existingBucket: there is no bucket {name}; create it in region \
                         {region}, or name another one"
                ),
            ),
            (BucketUse::Existing(name), BucketView::Forbidden) => self.refuse(
                Reason::AccessDenied,
                format!(
                    "{resource}.existingBucket: {name} belongs to another account, or denies the \
                         operator s3:ListBucket; name a bucket of account {}, or allow \
                         s3:ListBucket on arn:{}:s3:::{name}",
                    facts.place.account, facts.place.partition
                ),
            ),
            (BucketUse::Existing(name), BucketView::Elsewhere(other)) => self.refuse(
                Reason::InvalidSpec,
                format!(
                    "{resource}.existingBucket: {name} lies in region {other}, the pipeline in \
                         {region}; name a bucket of that region"
                ),
            ),
            (BucketUse::Existing(_), BucketView::Present(_)) => {}
        }
    }

    fn connection(&mut self, desired: &Desired, observed: &Observed, facts: Facts<'_>) {
        let Some(connection) = &desired.connection else {
            return;
        };
        match (connection, &observed.connection) {
            (ConnectionUse::Own(_), None) => self.create(Resource::Connection, facts),
            (ConnectionUse::Own(connection), Some(found)) => {
                if self.owned(Resource::Connection, &found.arn, &found.tags, facts) {
                    self.update(
                        Resource::Connection,
                        delta::tags_only(&connection.tags, &found.tags),
                        facts,
                    );
                }
            }
            (ConnectionUse::Existing(arn), None) => self.refuse(
                Reason::NotFound,
                format!(
                    "connection.existingARN: there is no connection {arn} in this account and \
                         region; name one that exists"
                ),
            ),
            (ConnectionUse::Existing(_), Some(_)) => {}
        }
        for spare in &observed.spare_connections {
            self.steps.push(Step {
                resource: Resource::Connection,
                action: Action::DeleteSpare(spare.arn.clone()),
            });
        }
    }

    fn topic(&mut self, desired: &Desired, observed: &Observed, facts: Facts<'_>) {
        let Some(topic) = &desired.topic else { return };
        match (topic, &observed.topic) {
            (TopicUse::Own(_), None) => self.create(Resource::Topic, facts),
            (TopicUse::Own(topic), Some(found)) => {
                if self.owned(Resource::Topic, &topic.arn, &found.tags, facts) {
                    self.update(Resource::Topic, delta::topic(topic, found), facts);
                }
            }
            (TopicUse::Existing(arn), None) => self.refuse(
                Reason::NotFound,
                format!(
                    "notifications.existingTopicARN: there is no topic {arn}; create it, or name another one"
                ),
            ),
            (TopicUse::Existing(arn), Some(found))
                if !policy_document::lets_publish(found.policy.as_ref()) =>
            {
                self.refuse(
                    Reason::AccessDenied,
                    format!(
                        "notifications.existingTopicARN: the policy of {arn} does not let \
                             notification rules publish; add this statement to it: {}",
                        policy_document::publish(arn, &facts.place.account)
                    ),
                )
            }
            (TopicUse::Existing(_), Some(_)) => {}
        }
    }

    fn role(&mut self, desired: &Desired, observed: &Observed, facts: Facts<'_>) {
        let Some(role) = &desired.role else { return };
        let Some(found) = &observed.role else {
            return self.create(Resource::Role, facts);
        };
        if !self.owned(Resource::Role, &found.arn, &found.tags, facts) {
            return;
        }
        match found.tags.get(REGION) {
            // A role has no region itself: its tag tells that the rest was made elsewhere.
            Some(region) if *region != facts.place.region => self.refuse(
                Reason::PlacementChanged,
                format!(
                    "{} serves resources in region {region}, and this object's region is {} now; \
                         nothing is built a second time. Give the operator its former region \
                         back, or delete this object with that and create it anew",
                    found.arn, facts.place.region
                ),
            ),
            _ => self.update(Resource::Role, delta::role(role, found), facts),
        }
    }

    fn pipeline(&mut self, desired: &Desired, observed: &Observed, facts: Facts<'_>) {
        let Some(pipeline) = &desired.pipeline else {
            return;
        };
        if let Some(found) = &observed.pipeline
            && !self.owned(Resource::Pipeline, &pipeline.arn, &found.tags, facts)
        {
            return;
        }
        if let Some(allowed) = &pipeline.taken
            && let Err(refusal) = may_be_taken(pipeline, allowed, observed)
        {
            return self.refusals.push(refusal);
        }
        // A pipeline made on a connection that nobody authorized never hears of a push, also later.
        let available = observed
            .connection
            .as_ref()
            .is_some_and(|c| c.state == ConnectionState::Available);
        if !available {
            return;
        }
        match &observed.pipeline {
            None => self.create(Resource::Pipeline, facts),
            Some(found) => {
                let delta = delta::pipeline(pipeline, found);
                if delta.has(delta::Field::Declaration) && facts.hold_pipeline {
                    self.held = true;
                } else {
                    self.update(Resource::Pipeline, delta, facts);
                }
            }
        }
    }

    fn notification_rule(&mut self, desired: &Desired, observed: &Observed, facts: Facts<'_>) {
        let Some(rule) = &desired.notification_rule else {
            return;
        };
        match (&observed.notification_rule, &observed.pipeline) {
            (None, _) if !observed.service_linked_role => {
                self.create(Resource::ServiceLinkedRole, facts)
            }
            (None, Some(_)) => self.create(Resource::NotificationRule, facts),
            (None, None) => {}
            (Some(found), _) => {
                if self.owned(Resource::NotificationRule, &found.arn, &found.tags, facts) {
                    let delta = delta::notification_rule(rule, found, facts.former_topics);
                    self.update(Resource::NotificationRule, delta, facts);
                }
            }
        }
    }
}

impl Plan {
    /// Once all else is made: whoever is let in finds something there, and what is refused here
    /// keeps nothing else from being made.
    fn readers(&mut self, desired: &Desired, observed: &Observed, facts: Facts<'_>) {
        let Some(readers) = &desired.readers else {
            return;
        };
        let present = observed.policy();
        let delta = delta::readers(readers, present);
        let new = !readers.any(present);
        if delta.is_empty() || (new && observed.notification_rule.is_none()) {
            return;
        }
        let bucket = &readers.bucket;
        if !readers.writable {
            let missing = policy_document::missing(present, &readers.statements);
            let missing: Vec<String> = missing.into_iter().map(Value::to_string).collect();
            return self.refuse(
                Reason::AccessDenied,
                format!(
                    "destination.readers: bucket {bucket} is not the operator's to configure, and \
                         its policy does not let them in; add these statements to it, or leave \
                         readers out: {}",
                    missing.join(", ")
                ),
            );
        }
        let size = policy_document::replace(present, &readers.sids, &readers.statements)
            .to_string()
            .len();
        if size > LONGEST_POLICY {
            return self.refuse(
                Reason::QuotaExceeded,
                format!(
                    "destination.readers: the policy of bucket {bucket} would have {size} bytes, \
                         and Amazon S3 takes {LONGEST_POLICY}; name fewer readers, or an \
                         organization in the place of many, or have a bucket of one's own"
                ),
            );
        }
        match new {
            true => self.create(Resource::Readers, facts),
            false => self.update(Resource::Readers, delta, facts),
        }
    }

    /// The queues, and then what feeds them.
    fn events(&mut self, desired: &Desired, observed: &Observed, facts: Facts<'_>) {
        for (resource, queue, found) in [
            (
                Resource::DeadLetterQueue,
                &desired.dead_letter_queue,
                &observed.dead_letter_queue,
            ),
            (Resource::Queue, &desired.queue, &observed.queue),
        ] {
            match (queue, found) {
                (Some(_), None) => self.create(resource, facts),
                (Some(queue), Some(found))
                    if self.owned(resource, &queue.arn, &found.tags, facts) =>
                {
                    self.update(resource, delta::queue(queue, found), facts);
                }
                _ => {}
            }
        }
        match (&desired.event_rule, &observed.event_rule) {
            (Some(_), None) => self.create(Resource::EventRule, facts),
            (Some(rule), Some(found))
                if self.owned(Resource::EventRule, &rule.arn, &found.tags, facts) =>
            {
                self.update(Resource::EventRule, delta::event_rule(rule, found), facts);
            }
            _ => {}
        }
    }
}

/// Whether there is a pipeline to take over, and it can be.
fn may_be_taken(
    pipeline: &Pipeline,
    allowed: &Allowed,
    observed: &Observed,
) -> Result<(), Refusal> {
    let Some(found) = &observed.pipeline else {
        return Err(Refusal::new(
            Reason::NotFound,
            format!(
                "pipeline.name: there is no pipeline {} in this account and region to be taken \
                     over; create it, or leave pipeline.name out",
                pipeline.name
            ),
        ));
    };
    if found.declaration.actions().is_none() {
        return Err(Refusal::new(
            Reason::InvalidSpec,
            format!(
                "pipeline.name: {} is not of two stages with one action each, a \
                     CodeStarSourceConnection and an S3 deployment; name one that is",
                pipeline.name
            ),
        ));
    }
    allowed.check("pipeline.name, its role", &found.declaration.role_arn)
}

/// Marks what is taken over: its tags say so from then on, and deletion heeds it.
pub fn adopt(desired: &mut Desired, observed: &Observed, adopt: &BTreeSet<Resource>) {
    let marks = |resource: Resource, tags: Option<&Tags>| {
        adopt.contains(&resource) && tags.is_some_and(Owner::unowned)
    };
    let mark = |tags: &mut Tags| {
        tags.insert(ADOPTED.to_owned(), "true".to_owned());
    };
    for (resource, bucket, view) in [
        (
            Resource::Artifacts,
            &mut desired.artifacts,
            &observed.artifacts,
        ),
        (
            Resource::Destination,
            &mut desired.destination,
            &observed.destination,
        ),
    ] {
        if let (Some(BucketUse::Own(bucket)), BucketView::Present(found)) = (bucket, view)
            && marks(resource, Some(&found.tags))
        {
            mark(&mut bucket.tags);
        }
    }
    if let Some(ConnectionUse::Own(connection)) = &mut desired.connection
        && marks(
            Resource::Connection,
            observed.connection.as_ref().map(|c| &c.tags),
        )
    {
        mark(&mut connection.tags);
    }
    if let Some(TopicUse::Own(topic)) = &mut desired.topic
        && marks(Resource::Topic, observed.topic.as_ref().map(|t| &t.tags))
    {
        mark(&mut topic.tags);
    }
    if let Some(role) = &mut desired.role
        && marks(Resource::Role, observed.role.as_ref().map(|r| &r.tags))
    {
        mark(&mut role.tags);
    }
    if let Some(pipeline) = &mut desired.pipeline
        && marks(
            Resource::Pipeline,
            observed.pipeline.as_ref().map(|p| &p.tags),
        )
    {
        mark(&mut pipeline.tags);
    }
    if let (Some(pipeline), Some(found)) = (&mut desired.pipeline, &observed.pipeline)
        && pipeline.taken.is_some()
    {
        pipeline.declaration = pipeline.declaration.within(&found.declaration);
    }
    if let (Some(rule), Some(found)) = (&mut desired.notification_rule, &observed.notification_rule)
    {
        if marks(Resource::NotificationRule, Some(&found.tags)) {
            mark(&mut rule.tags);
        }
        if rule.tags.contains_key(ADOPTED) || found.tags.contains_key(ADOPTED) {
            rule.name.clone_from(&found.name);
        }
    }
}
