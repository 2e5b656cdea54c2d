//! Each resource and each filter, case by case.

use super::*;

use crate::domain::owner::RETAINED_AT;
use crate::domain::pattern::Allowed;
use crate::domain::word::Found;
use crate::resource::bucket::ObservedBucket;
use crate::resource::managed::Wanted;
use crate::resource::topic::ObservedTopic;

#[test]
fn all_is_made_in_order_and_then_nothing_is_left_to_do() {
    let spec = json!({"destination": {"readers": [{"account": "444455556666"}]}});
    let mut world = World::fanout(&spec);
    let first = [
        "create artifacts",
        "create destination",
        "create topic",
        "create role",
        "create pipeline",
        "create service linked role",
    ];
    assert_eq!(told(&world.plan()), first);
    assert_eq!(world.converge(), Plan::default());
    let mut class = World::class();
    let shared = [
        "create artifacts",
        "create destination",
        "create topic",
        "create role",
        "create dead letter queue",
        "create queue",
        "create event rule",
    ];
    assert_eq!(told(&class.plan()), shared);
    assert_eq!(class.converge(), Plan::default());
}

#[test]
fn nothing_but_what_authorization_does_not_matter_to_is_made_before_it() {
    for state in [ConnectionState::Pending, ConnectionState::Error] {
        let mut world = World::fanout(&json!({}));
        world.observed.connection.as_mut().unwrap().state = state;
        world.converge();
        assert!(world.observed.role.is_some() && world.observed.service_linked_role);
        assert!(world.observed.pipeline.is_none() && world.observed.notification_rule.is_none());
    }
}

/// A change of what is found, and what is planned then.
type Case = (&'static str, fn(&mut Observed), &'static [&'static str]);

const CASES: &[Case] = &[
    (
        "a bucket that is public",
        |o| bucket(o).public_access_blocked = false,
        &["update destination"],
    ),
    (
        "a bucket with ACLs",
        |o| bucket(o).owner_enforced = false,
        &["update destination"],
    ),
    (
        "a bucket without encryption",
        |o| bucket(o).encrypted = false,
        &["update destination"],
    ),
    (
        "a bucket without our statement",
        |o| bucket(o).policy = None,
        &["update destination"],
    ),
    (
        "a bucket without our lifecycle rule",
        |o| bucket(o).lifecycle = None,
        &["update destination"],
    ),
    (
        "a bucket with another key, where none is asked for",
        |o| bucket(o).kms_key = Some("k".into()),
        &[],
    ),
    (
        "a bucket that is gone",
        |o| o.destination = BucketView::Missing,
        &["create destination"],
    ),
    (
        "a bucket of another account",
        |o| o.destination = BucketView::Forbidden,
        &["! NotOwned"],
    ),
    (
        "a bucket of another region",
        |o| o.destination = BucketView::Elsewhere("x".into()),
        &["! PlacementChanged"],
    ),
    (
        "a connection that is gone",
        |o| o.connection = None,
        &["create connection"],
    ),
    (
        "a connection without our tags",
        |o| o.connection.as_mut().unwrap().tags.clear(),
        &["! NotOwned"],
    ),
    (
        "a spare connection",
        |o| o.spare_connections.extend(o.connection.clone()),
        &["delete the spare connection arn"],
    ),
    (
        "a role with another policy",
        |o| o.role.as_mut().unwrap().policy = None,
        &["update role"],
    ),
    (
        "a role with another trust",
        |o| o.role.as_mut().unwrap().trust = json!({}),
        &["update role"],
    ),
    (
        "a role with a boundary that nobody asked for",
        |o| o.role.as_mut().unwrap().boundary = Some("b".into()),
        &[],
    ),
    (
        "a role of another region",
        |o| tag(&mut o.role.as_mut().unwrap().tags, REGION, "us-east-1"),
        &["! PlacementChanged"],
    ),
    (
        "a topic without our statement",
        |o| o.topic.as_mut().unwrap().policy = None,
        &["update topic"],
    ),
    (
        "a topic that was kept",
        |o| tag(&mut o.topic.as_mut().unwrap().tags, RETAINED_AT, "then"),
        &["update topic"],
    ),
    (
        "a pipeline with another structure",
        |o| {
            o.pipeline.as_mut().unwrap().declaration.execution_mode =
                Found::Other("PARALLEL".into())
        },
        &["update pipeline"],
    ),
    (
        "a pipeline with another tag, too",
        |o| tag(&mut o.pipeline.as_mut().unwrap().tags, "theirs", "1"),
        &[],
    ),
    (
        "a rule that is switched off",
        |o| o.notification_rule.as_mut().unwrap().enabled = false,
        &["update notification rule"],
    ),
    (
        "a rule without targets",
        |o| o.notification_rule.as_mut().unwrap().targets.clear(),
        &["update notification rule"],
    ),
    (
        "a rule that is gone, and its role",
        |o| (o.notification_rule, o.service_linked_role) = (None, false),
        &["create service linked role"],
    ),
    (
        "a rule that is gone",
        |o| o.notification_rule = None,
        &["create notification rule"],
    ),
];

#[test]
fn each_difference_is_mended_by_itself() {
    for (what, change, expected) in CASES {
        let mut world = World::fanout(&json!({})).made();
        change(&mut world.observed);
        let plan = world.plan();
        assert_eq!(told(&plan), *expected, "{what}");
        if plan.refusals.is_empty() && world.observed.connection.is_some() {
            assert_eq!(world.converge(), Plan::default(), "{what}");
        }
    }
}

#[test]
fn what_feeds_events_is_mended() {
    let cases: [Case; 5] = [
        (
            "no dead letters",
            |o| o.queue.as_mut().unwrap().dead_letters = None,
            &["update queue"],
        ),
        (
            "no statement",
            |o| o.queue.as_mut().unwrap().policy = None,
            &["update queue"],
        ),
        (
            "no queue of dead letters",
            |o| o.dead_letter_queue = None,
            &["create dead letter queue"],
        ),
        (
            "no target",
            |o| o.event_rule.as_mut().unwrap().targets.clear(),
            &["update event rule"],
        ),
        (
            "switched off",
            |o| o.event_rule.as_mut().unwrap().enabled = false,
            &["update event rule"],
        ),
    ];
    for (what, change, expected) in cases {
        let mut world = World::class().made();
        change(&mut world.observed);
        assert_eq!(told(&world.plan()), expected, "{what}");
        assert_eq!(world.converge(), Plan::default(), "{what}");
    }
}

#[test]
fn existing_things_are_never_written() {
    let spec = json!({
        "destination": {"existingBucket": "theirs"}, "artifacts": {"existingBucket": "theirs-too"},
        "notifications": {"existingTopicARN": "arn:aws:sns:eu-west-1:111122223333:theirs"},
        "connection": {"existingARN": CONNECTION},
    });
    let mut world = World::fanout(&spec);
    let missing = ["! NotFound", "! NotFound", "! NotFound"];
    assert_eq!(told(&world.plan()), missing);
    let there = |policy| {
        let mut bucket = ObservedBucket::created(Tags::new());
        bucket.policy = policy;
        BucketView::Present(Box::new(bucket))
    };
    world.observed.artifacts = there(None);
    world.observed.destination = there(None);
    let topic = json!({"Statement": {"Effect": "Allow", "Principal": "*", "Action": "sns:Publish", "Resource": "*"}});
    world.observed.topic = Some(ObservedTopic {
        policy: None,
        kms_key: None,
        subscriptions: 3,
        tags: Tags::new(),
    });
    assert_eq!(told(&world.plan()), ["! AccessDenied"]);
    world.observed.topic.as_mut().unwrap().policy = Some(topic);
    let own = [
        "create role",
        "create pipeline",
        "create service linked role",
    ];
    assert_eq!(told(&world.plan()), own);
}

#[test]
fn a_pipeline_that_is_taken_over_has_to_be_there_and_of_our_shape() {
    let made = World::fanout(&json!({})).made();
    let mut world = World::fanout(&json!({"branch": "next"}));
    world.adopt.insert(Resource::Pipeline);
    let taken = Some(Allowed {
        patterns: vec!["*:role/*".into()],
        whose: "the settings".into(),
    });
    let pipeline = world.desired.pipeline.own().unwrap().clone();
    world.desired.pipeline = Wanted::Own(Pipeline { taken, ..pipeline });
    assert_eq!(told(&world.plan()), ["! NotFound"]);
    let mut theirs = made.observed.pipeline.unwrap();
    theirs.tags.clear();
    theirs.declaration.stages[1].name = "Copy".into();
    let stages = theirs.declaration.stages.clone();
    theirs.declaration.stages.pop();
    world.observed.pipeline = Some(theirs.clone());
    assert_eq!(told(&world.plan()), ["! InvalidSpec"]);
    theirs.declaration.stages = stages;
    let role_arn = std::mem::replace(&mut theirs.declaration.role_arn, "arn:other".into());
    world.observed.pipeline = Some(theirs.clone());
    assert_eq!(told(&world.plan()), ["! NotAllowed"]);
    theirs.declaration.role_arn = role_arn;
    world.observed.pipeline = Some(theirs);
    let adopted = world.plan().adopted;
    assert!(
        adopted[0].contains("BranchName from 'main' to 'next'"),
        "{adopted:?}"
    );
    assert!(!adopted[0].contains("Copy"), "{adopted:?}");
    assert_eq!(world.converge(), Plan::default());
    let taken = world.observed.pipeline.unwrap();
    assert_eq!(taken.tags[ADOPTED], "true");
}

#[test]
fn what_nobody_owns_is_taken_over_only_where_that_is_asked_for() {
    let all = [
        "Connection",
        "Destination",
        "Artifacts",
        "Role",
        "Topic",
        "NotificationRule",
    ];
    for asked in all {
        let mut world = World::fanout(&json!({"adopt": [asked]})).made();
        world.tags().into_iter().for_each(|(_, tags)| tags.clear());
        let refused = world.plan().refusals.len();
        assert_eq!(refused, 6, "{asked}: the six others are refused");
    }
    let mut world = World::fanout(&json!({"adopt": all})).made();
    let theirs = Owner {
        name: "other".into(),
        ..world.owner.clone()
    };
    world.observed.topic.as_mut().unwrap().tags = theirs.tags();
    assert_eq!(
        told(&world.plan()),
        ["! NotOwned"],
        "an owner is not robbed"
    );
}

#[test]
fn drift_is_corrected_or_only_shown() {
    for detect in [false, true] {
        let mut world = World::fanout(&json!({})).made();
        world.settle();
        world.detect = detect;
        world.observed.topic = None;
        bucket(&mut world.observed).encrypted = false;
        let plan = world.plan();
        assert_eq!(plan.steps.is_empty(), detect);
        assert_eq!(
            plan.drift,
            [
                "destination: encrypted from 'false' to 'true'",
                "topic: somebody deleted it"
            ]
        );
    }
    let mut changed = World::fanout(&json!({})).made();
    changed.observed.topic = None;
    assert!(
        changed.plan().drift.is_empty(),
        "before the spec is applied, it is no drift"
    );
}

#[test]
fn a_running_execution_holds_back_a_new_structure_alone() {
    let mut world = World::fanout(&json!({})).made();
    world.hold = true;
    tag(
        &mut world.observed.pipeline.as_mut().unwrap().tags,
        RETAINED_AT,
        "then",
    );
    assert_eq!(
        (told(&world.plan()), world.plan().held),
        (vec!["update pipeline".into()], false)
    );
    world
        .observed
        .pipeline
        .as_mut()
        .unwrap()
        .declaration
        .role_arn = "other".into();
    world.observed.topic = None;
    assert_eq!(
        (told(&world.plan()), world.plan().held),
        (vec!["create topic".into()], true)
    );
}

#[test]
fn a_read_only_operator_says_what_it_would_do() {
    let world = World::fanout(&json!({}));
    let facts = Facts {
        read_only: true,
        ..world.facts()
    };
    let plan = read_only(world.plan(), &facts);
    assert!(plan.steps.is_empty());
    assert!(
        plan.refusals[0]
            .message
            .contains("would create artifacts; create destination")
    );
    assert_eq!(read_only(Plan::default(), &facts), Plan::default());
}

#[test]
fn readers_are_let_in_last_and_refused_where_the_bucket_is_anothers() {
    let spec = json!({"destination": {"readers": [{"account": "444455556666"}]}});
    let mut world = World::fanout(&spec).made();
    let sid = &world.desired.readers.own().unwrap().sids[0];
    assert!(world.observed.policy().unwrap().to_string().contains(sid));
    world.desired = World::fanout(&json!({})).desired;
    assert_eq!(told(&world.plan()), ["update readers"]);
    assert_eq!(world.converge(), Plan::default());
    let readers: Vec<Value> = (0..200)
        .map(|i| json!({"roleARN": format!("arn:aws:iam::444455556666:role/{}{i}", "x".repeat(100))}))
        .collect();
    world.desired = World::fanout(&json!({"destination": {"readers": readers}})).desired;
    assert_eq!(told(&world.plan()), ["! QuotaExceeded"]);
    let mut theirs = world.desired.readers.own().unwrap().clone();
    theirs.writable = false;
    world.desired.readers = Wanted::Own(theirs);
    assert_eq!(told(&world.plan()), ["! AccessDenied"]);
}
