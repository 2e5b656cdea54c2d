//! Properties of every plan.

use proptest::prelude::*;

use super::*;
use crate::domain::owner::RETAINED_AT;
use crate::domain::policy_document;

/// Specs that differ in what they have of their own.
fn any_world() -> impl Strategy<Value = World> {
    let readers = json!([{"account": "444455556666"}, {"organization": "o-abcdefghij"}]);
    (any::<u8>(), any::<bool>()).prop_map(move |(bits, of_class)| {
        let on = |bit: u8| bits & (1 << bit) != 0;
        if of_class {
            return World::class();
        }
        let mut spec = json!({"destination": {}, "notifications": {}});
        if on(0) {
            spec["destination"]["readers"] = readers.clone();
        }
        if on(1) {
            spec["notifications"]["detail"] = json!("FULL");
        }
        if on(2) {
            spec["tags"] = json!({"Team": "docs"});
        }
        if on(3) {
            spec["destination"]["bucketName"] = json!("rf-chosen");
        }
        if on(4) {
            spec["adopt"] = json!(["Topic", "Role", "Artifacts", "Connection"]);
        }
        World::fanout(&spec)
    })
}

/// Somebody's changes of what is there: one bit each.
fn disturb(world: &mut World, bits: u32) {
    let on = |bit: u32| bits & (1 << bit) != 0;
    for (i, (_, tags)) in (0..).zip(world.tags()) {
        if on(i) {
            tag(tags, "theirs", "kept");
            tag(tags, RETAINED_AT, "then");
        }
    }
    let o = &mut world.observed;
    if on(10) {
        o.artifacts = BucketView::Missing;
    }
    if on(11) {
        o.topic = None;
    }
    if on(12) {
        o.queue = None;
    }
    if on(13) {
        o.notification_rule = None;
    }
    if on(14)
        && let Some(pipeline) = &mut o.pipeline
    {
        pipeline.declaration.stages.pop();
    }
    if on(15)
        && let Some(role) = &mut o.role
    {
        (role.policy, role.trust) = (None, json!({}));
    }
    if on(16)
        && let Some(rule) = &mut o.event_rule
    {
        (rule.enabled, rule.pattern) = (false, None);
    }
    if on(17) {
        world
            .policies()
            .into_iter()
            .for_each(|policy| *policy = None);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn applied_plans_end_in_an_empty_one(world in any_world(), bits in any::<u32>()) {
        let mut world = world.made();
        prop_assert_eq!(world.plan(), Plan::default());
        disturb(&mut world, bits);
        prop_assert_eq!(world.converge(), Plan::default());
    }

    #[test]
    fn what_is_not_ours_is_never_written(world in any_world(), bits in any::<u32>(), owned in any::<u16>()) {
        let mut world = world.made();
        disturb(&mut world, bits);
        let strangers = [Tags::new(), Owner { name: "other".into(), ..world.owner.clone() }.tags()];
        let adopt = world.adopt.clone();
        let mut unowned = BTreeSet::new();
        for (i, (resource, tags)) in (0..).zip(world.tags()) {
            if owned & (1 << i) == 0 {
                let of = usize::from(bits & (1 << (i + 18)) != 0);
                tags.clone_from(&strangers[of]);
                if of == 1 || !adopt.contains(&resource) {
                    unowned.insert(resource);
                }
            }
        }
        let plan = world.plan();
        prop_assert!(plan.steps.iter().all(|step| !unowned.contains(&step.resource())));
        prop_assert_eq!(plan.refusals.len(), unowned.len());
        prop_assert!(unowned.is_empty() || plan.steps.is_empty());
    }

    #[test]
    fn statements_of_others_survive(world in any_world(), bits in any::<u32>(), sid in "[A-Za-z0-9]{1,12}") {
        let mut world = world.made();
        let theirs = json!({"Sid": sid, "Effect": "Allow", "Principal": {"AWS": "1"}, "Action": "a:b", "Resource": "r"});
        for policy in world.policies() {
            *policy = Some(policy_document::merge(policy.as_ref(), &theirs));
        }
        disturb(&mut world, bits & !(1 << 10) & !(1 << 11) & !(1 << 12) & !(1 << 17));
        world.desired.readers = World::fanout(&json!({})).desired.readers;
        world.converge();
        for policy in world.policies() {
            prop_assert!(policy_document::contains(policy.as_ref(), &theirs));
        }
    }
}
