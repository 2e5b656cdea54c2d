//! The worlds that plans are made for, in memory: what is written to them is what AWS would have.

mod properties;
mod tables;

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde_json::{Value, json};

use super::*;
use crate::domain::owner::Owner;
use crate::domain::placement::Placement;
use crate::domain::settings::{Identity, Settings};
use crate::resource::bucket::{BucketView, ObservedBucket};
use crate::resource::connection::{ConnectionState, ObservedConnection};
use crate::spec::class::Class;
use crate::spec::fanout::Fanout;
use crate::spec::policy::Policy;

const CONNECTION: &str = "arn:aws:codeconnections:eu-west-1:111122223333:connection/1";

fn settings() -> Settings {
    Settings {
        allow_names: true,
        allow_existing: vec!["*".into()],
        allow_readers: vec!["*".into()],
        ..Settings::example()
    }
}

fn fanout(spec: &Value) -> Fanout {
    let mut all = json!({"repository": "acme/docs"});
    all.as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    let object = serde_json::from_value(json!({
        "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanout",
        "metadata": {"name": "docs", "namespace": "team", "uid": "u"}, "spec": all,
    }));
    let terms = Policy {
        settings: &settings(),
        class: None,
        labels: &BTreeMap::new(),
    };
    Fanout::parse(&object.unwrap(), &terms).unwrap()
}

fn class() -> Class {
    let object = serde_json::from_value(json!({
        "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanoutClass", "metadata": {"name": "acme"},
        "spec": {"artifacts": {}, "destination": {}},
    }));
    let identity = Identity {
        account: "111122223333".into(),
        partition: "aws".into(),
        arn: "arn:aws:iam::111122223333:user/operator".into(),
    };
    let mut class = Class::parse(&object.unwrap(), &settings(), &identity).unwrap();
    (class.shared_role, class.shared_topic, class.queue) = (true, true, true);
    class
}

/// Everything that a plan depends on.
#[derive(Clone, Debug)]
struct World {
    desired: Desired,
    observed: Observed,
    owner: Owner,
    place: Placement,
    adopt: BTreeSet<Resource>,
    settled: Option<BTreeMap<String, String>>,
    hold: bool,
    detect: bool,
    young: Option<BTreeMap<String, String>>,
}

impl World {
    /// Nothing is there yet but an authorized connection.
    fn of(desired: Desired, owner: &Owner, place: &Placement) -> Self {
        let mut world = Self {
            desired,
            observed: Observed::default(),
            owner: owner.clone(),
            place: place.clone(),
            adopt: BTreeSet::new(),
            settled: None,
            hold: false,
            detect: false,
            young: None,
        };
        let tags = world.desired.connection.own().map(|c| c.tags.clone());
        world.observed.connection = Some(ObservedConnection {
            arn: CONNECTION.into(),
            name: "rf".into(),
            state: ConnectionState::Available,
            provider: "GitHub".into(),
            tags: tags.unwrap_or_default(),
        });
        world
    }

    fn fanout(spec: &Value) -> Self {
        let fanout = fanout(spec);
        let place = Placement {
            account: "111122223333".into(),
            partition: "aws".into(),
            region: "eu-west-1".into(),
            class: None,
            base_name: "rf-team-docs-abc".into(),
        };
        let desired = Desired::new(&fanout, &place, Some(CONNECTION));
        let mut world = Self::of(desired, &fanout.owner, &place);
        world.adopt = fanout.adopt;
        world
    }

    fn class() -> Self {
        let class = class();
        let desired = Desired::of_class(&class, &[CONNECTION]);
        Self::of(desired, &class.owner, &class.place)
    }

    /// All is there.
    fn made(mut self) -> Self {
        self.converge();
        self
    }

    fn plan(&self) -> Plan {
        plan(&self.desired, &self.observed, self.facts())
    }

    fn facts(&self) -> Facts<'_> {
        Facts {
            owner: &self.owner,
            place: &self.place,
            hold_pipeline: self.hold,
            former_topics: &[],
            adopt: &self.adopt,
            settled: self.settled.as_ref(),
            detect: self.detect,
            read_only: false,
            young: self.young.as_ref(),
            unrecorded: false,
        }
    }

    /// The present spec was applied: all that is there was recorded.
    fn settle(&mut self) {
        let arn = |resource: Resource| {
            let arn = self.desired.arn(resource, &self.observed, "aws")?;
            Some((resource.as_str().to_owned(), arn))
        };
        self.settled = Some(Resource::ALL.into_iter().filter_map(arn).collect());
    }

    /// Writes what is planned, round by round, as a pass does; answers the last plan.
    fn converge(&mut self) -> Plan {
        for _ in 0..4 {
            let plan = self.plan();
            if plan.steps.is_empty() {
                return plan;
            }
            plan.steps.iter().for_each(|step| self.write(step));
        }
        self.plan()
    }

    /// Writes one step, as AWS would.
    fn write(&mut self, step: &Step) {
        fn written<D: Managed>(change: &Change<D>, made: impl Fn(&D) -> D::Found) -> D::Found {
            match change {
                Change::Create(desired) => made(desired),
                Change::Update(update) => update.desired.updated(&update.found),
            }
        }
        let bucket = |change: &Change<Bucket>| {
            let made = |b: &Bucket| b.created(b.tags.clone());
            BucketView::Present(Box::new(written(change, made)))
        };
        let o = &mut self.observed;
        match step {
            Step::Artifacts(change) => o.artifacts = bucket(change),
            Step::Destination(change) => o.destination = bucket(change),
            Step::Connection(change) => {
                let made = |c: &Connection| c.created(CONNECTION.into(), c.tags.clone());
                o.connection = Some(written(change, made));
            }
            Step::DeleteSpareConnection(arn) => o.spare_connections.retain(|c| c.arn != *arn),
            Step::Topic(change) => o.topic = Some(written(change, Topic::created)),
            Step::Role(change) => {
                o.role = Some(written(change, |role| role.created("arn:role".into())));
            }
            Step::Pipeline(change) => o.pipeline = Some(written(change, Pipeline::created)),
            Step::CreateServiceLinkedRole => o.service_linked_role = true,
            Step::NotificationRule(change) => {
                let made =
                    |r: &NotificationRule| r.created("arn:rule".into(), Timestamp::UNIX_EPOCH);
                o.notification_rule = Some(written(change, made));
            }
            Step::Readers(write) => {
                let policy = write.readers().updated(o.policy());
                o.set_policy(policy);
            }
            Step::DeadLetterQueue(change) => {
                o.dead_letter_queue = Some(written(change, Queue::created));
            }
            Step::Queue(change) => o.queue = Some(written(change, Queue::created)),
            Step::EventRule(change) => o.event_rule = Some(written(change, EventRule::created)),
        }
    }

    /// The tags of everything that is there.
    fn tags(&mut self) -> Vec<(Resource, &mut Tags)> {
        fn bucket(view: &mut BucketView) -> Option<&mut Tags> {
            match view {
                BucketView::Present(bucket) => Some(&mut bucket.tags),
                BucketView::Missing | BucketView::Forbidden | BucketView::Elsewhere(_) => None,
            }
        }
        let o = &mut self.observed;
        let mut all = vec![
            (Resource::Artifacts, bucket(&mut o.artifacts)),
            (Resource::Destination, bucket(&mut o.destination)),
            (Resource::Topic, o.topic.as_mut().map(|t| &mut t.tags)),
            (Resource::Role, o.role.as_mut().map(|r| &mut r.tags)),
            (Resource::Pipeline, o.pipeline.as_mut().map(|p| &mut p.tags)),
            (
                Resource::NotificationRule,
                o.notification_rule.as_mut().map(|r| &mut r.tags),
            ),
            (
                Resource::DeadLetterQueue,
                o.dead_letter_queue.as_mut().map(|q| &mut q.tags),
            ),
            (Resource::Queue, o.queue.as_mut().map(|q| &mut q.tags)),
            (
                Resource::EventRule,
                o.event_rule.as_mut().map(|r| &mut r.tags),
            ),
        ];
        if self.desired.connection.own().is_some() {
            let connection = o.connection.as_mut().map(|c| &mut c.tags);
            all.push((Resource::Connection, connection));
        }
        let there = |(resource, tags): (_, Option<_>)| Some((resource, tags?));
        all.into_iter().filter_map(there).collect()
    }

    /// The policies that others may have a part in.
    fn policies(&mut self) -> Vec<&mut Option<Value>> {
        let o = &mut self.observed;
        let mut all = Vec::new();
        for view in [&mut o.artifacts, &mut o.destination] {
            if let BucketView::Present(bucket) = view {
                all.push(&mut bucket.policy);
            }
        }
        all.extend(o.topic.as_mut().map(|t| &mut t.policy));
        all.extend(o.queue.as_mut().map(|q| &mut q.policy));
        all
    }
}

fn told(plan: &Plan) -> Vec<String> {
    let refusals = plan.refusals.iter().map(|r| format!("! {:?}", r.reason));
    let steps = plan.steps.iter().map(ToString::to_string);
    let short = |text: String| text.split(':').next().unwrap_or_default().to_owned();
    refusals.chain(steps).map(short).collect()
}

fn bucket(observed: &mut Observed) -> &mut ObservedBucket {
    match &mut observed.destination {
        BucketView::Present(bucket) => bucket,
        other => panic!("{other:?}"),
    }
}

fn tag(tags: &mut Tags, key: &str, value: &str) {
    tags.insert(key.to_owned(), value.to_owned());
}

#[test]
fn what_was_just_created_and_is_not_shown_is_waited_for_and_is_no_drift() {
    let mut world = World::fanout(&json!({})).made();
    world.settle();
    world.observed.topic = None;
    world.young = world.settled.clone();
    let plan = world.plan();
    assert_eq!(plan.unseen, [Resource::Topic]);
    assert!(plan.steps.is_empty() && plan.drift.is_empty(), "{plan:?}");
    // What is recorded under another name is not what is to be created.
    let other = "arn:aws:sns:eu-west-1:111122223333:other".to_owned();
    let young = world.young.as_mut().unwrap();
    young.insert(Resource::Topic.as_str().to_owned(), other);
    let plan = world.plan();
    assert!(plan.unseen.is_empty());
    assert_eq!(told(&plan), ["create topic"]);
    world.young = None;
    assert_eq!(told(&world.plan()), ["create topic"]);
}
