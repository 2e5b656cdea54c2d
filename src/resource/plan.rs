//! Desired × observed → ordered steps. Each resource proposes a change of its own; what may be
//! done of all that is decided by filters, which are the same for all of them.

use std::fmt;

use crate::api::condition::Reason;
use crate::domain::kind::Resource;
use crate::domain::owner::{ADOPTED, REGION, Tags};
use crate::domain::refusal::Refusal;
use crate::resource::bucket::Bucket;
use crate::resource::connection::{Connection, ObservedConnection};
use crate::resource::delta::{Delta, Field};
use crate::resource::event_rule::EventRule;
pub use crate::resource::managed::Facts;
use crate::resource::managed::{Change, Managed, Planned};
use crate::resource::notification_rule::NotificationRule;
use crate::resource::pipeline::Pipeline;
use crate::resource::queue::Queue;
use crate::resource::reader_policy::Write;
use crate::resource::role::Role;
use crate::resource::topic::Topic;
use crate::resource::{
    Desired, Observed, bucket, connection, event_rule, notification_rule, pipeline, queue,
    reader_policy, role, service_linked_role, topic,
};

/// One thing to do, with all that it takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Step {
    /// The artifacts bucket.
    Artifacts(Change<Bucket>),
    /// The destination bucket.
    Destination(Change<Bucket>),
    /// The connection in use.
    Connection(Change<Connection>),
    /// Delete the connection with this ARN, which nobody authorized.
    DeleteSpareConnection(String),
    /// The topic.
    Topic(Change<Topic>),
    /// The pipeline's role.
    Role(Change<Role>),
    /// The pipeline.
    Pipeline(Change<Pipeline>),
    /// Make the account's service-linked role.
    CreateServiceLinkedRole,
    /// The notification rule.
    NotificationRule(Change<NotificationRule>),
    /// The readers' statements.
    Readers(Write),
    /// The queue of events that could not be handled.
    DeadLetterQueue(Change<Queue>),
    /// The queue of events of executions.
    Queue(Change<Queue>),
    /// The rule that feeds it.
    EventRule(Change<EventRule>),
}

/// The kind of a step, whichever resource it is about.
enum Action<'a> {
    /// It is made.
    Create,
    /// This is changed; tags of what is found, if it has any, and how messages call it.
    Update(&'a Delta, Option<(&'a Tags, String)>),
    /// It is deleted.
    Delete,
}

/// What all steps have in common.
struct Parts<'a> {
    resource: Resource,
    /// Name or ARN of what the step is about.
    name: &'a str,
    action: Action<'a>,
}

impl<'a> Parts<'a> {
    fn new(resource: Resource, name: &'a str, action: Action<'a>) -> Self {
        Self {
            resource,
            name,
            action,
        }
    }

    fn of<D: Managed>(resource: Resource, change: &'a Change<D>) -> Self {
        match change {
            Change::Create(desired) => Self::new(resource, desired.label(), Action::Create),
            Change::Update(update) => {
                let called = update.desired.called(&update.found);
                let found = (D::found_tags(&update.found), called);
                let action = Action::Update(&update.delta, Some(found));
                Self::new(resource, update.desired.label(), action)
            }
        }
    }
}

impl Step {
    fn parts(&self) -> Parts<'_> {
        match self {
            Self::Artifacts(change) => Parts::of(Resource::Artifacts, change),
            Self::Destination(change) => Parts::of(Resource::Destination, change),
            Self::Connection(change) => Parts::of(Resource::Connection, change),
            Self::DeleteSpareConnection(arn) => {
                Parts::new(Resource::Connection, arn, Action::Delete)
            }
            Self::Topic(change) => Parts::of(Resource::Topic, change),
            Self::Role(change) => Parts::of(Resource::Role, change),
            Self::Pipeline(change) => Parts::of(Resource::Pipeline, change),
            Self::CreateServiceLinkedRole => {
                let name = service_linked_role::NAME;
                Parts::new(Resource::ServiceLinkedRole, name, Action::Create)
            }
            Self::NotificationRule(change) => Parts::of(Resource::NotificationRule, change),
            Self::Readers(Write::Create(readers)) => {
                Parts::new(Resource::Readers, &readers.bucket, Action::Create)
            }
            Self::Readers(Write::Update(readers, delta)) => {
                let action = Action::Update(delta, None);
                Parts::new(Resource::Readers, &readers.bucket, action)
            }
            Self::DeadLetterQueue(change) => Parts::of(Resource::DeadLetterQueue, change),
            Self::Queue(change) => Parts::of(Resource::Queue, change),
            Self::EventRule(change) => Parts::of(Resource::EventRule, change),
        }
    }

    /// Name or ARN of what it is about, for people.
    pub fn name(&self) -> &str {
        self.parts().name
    }

    /// The resource that it is about.
    pub fn resource(&self) -> Resource {
        self.parts().resource
    }

    /// Whether it makes something.
    pub fn creates(&self) -> bool {
        matches!(self.parts().action, Action::Create)
    }

    /// The differences that it writes, if it makes nothing and deletes nothing.
    pub fn delta(&self) -> Option<&Delta> {
        match self.parts().action {
            Action::Update(delta, _) => Some(delta),
            Action::Create | Action::Delete => None,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Parts {
            resource,
            name,
            action,
        } = self.parts();
        match action {
            Action::Create => write!(f, "create {resource}"),
            Action::Update(delta, _) => write!(f, "update {resource}: {}", delta.describe()),
            Action::Delete => write!(f, "delete the spare {resource} {name}"),
        }
    }
}

/// The things to do, in order; none at all where something is refused.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// The steps.
    pub steps: Vec<Step>,
    /// The problems that only a person can solve.
    pub refusals: Vec<Refusal>,
    /// Whether a changed pipeline waits for its running execution to end.
    pub held: bool,
    /// Recorded resources that AWS does not show, and that are so young that it may yet.
    pub unseen: Vec<Resource>,
    /// Changes that somebody made behind the operator's back.
    pub drift: Vec<String>,
    /// Resources that are taken over, with the changes to them.
    pub adopted: Vec<String>,
}

/// A plan on its way through the filters: steps and refusals in the order of their resources.
#[derive(Default)]
struct Draft {
    entries: Vec<Result<Step, Refusal>>,
    held: bool,
    drift: Vec<String>,
    adopted: Vec<String>,
}

impl Draft {
    /// Replaces each step by what `judge` makes of it: the step, nothing, or a refusal.
    fn judge(mut self, mut judge: impl FnMut(Step) -> Planned<Step>) -> Self {
        let judged = |entry: Result<Step, Refusal>| match entry {
            Ok(step) => judge(step).transpose(),
            Err(refusal) => Some(Err(refusal)),
        };
        self.entries = self.entries.into_iter().filter_map(judged).collect();
        self
    }
}

/// A function from plan to plan.
type Filter = fn(Draft, &Facts<'_>) -> Draft;

/// The next steps. Applying them and planning again ends in an empty plan.
pub fn plan(desired: &Desired, observed: &Observed, facts: Facts<'_>) -> Plan {
    let (mut draft, mut unseen) = (Draft::default(), Vec::new());
    for resource in Resource::ALL {
        let proposed = propose(resource, desired, observed, &facts);
        if is_unseen(&proposed, desired, &facts) {
            unseen.push(resource);
            continue;
        }
        draft.entries.extend(proposed.transpose());
        if resource == Resource::Connection {
            let spares = observed.spare_connections.iter();
            let ours = spares.filter(|spare| facts.owner.owns(&spare.tags));
            let delete =
                |spare: &ObservedConnection| Ok(Step::DeleteSpareConnection(spare.arn.clone()));
            draft.entries.extend(ours.map(delete));
        }
    }
    let filters: [Filter; 5] = [owned, placed, hold, adopt, drift];
    let draft = filters
        .iter()
        .fold(draft, |draft, filter| filter(draft, &facts));
    let mut plan = Plan {
        held: draft.held,
        unseen,
        drift: draft.drift,
        adopted: draft.adopted,
        ..Plan::default()
    };
    for entry in draft.entries {
        match entry {
            Ok(step) => plan.steps.push(step),
            Err(refusal) => plan.refusals.push(refusal),
        }
    }
    if !plan.refusals.is_empty() {
        plan.steps.clear();
    }
    plan
}

/// The change of one resource, whoever owns it.
fn propose(
    resource: Resource,
    desired: &Desired,
    observed: &Observed,
    facts: &Facts<'_>,
) -> Planned<Step> {
    let rule = observed.notification_rule.as_ref();
    Ok(match resource {
        Resource::Artifacts => {
            bucket::plan(resource, &desired.artifacts, &observed.artifacts, facts)?
                .map(Step::Artifacts)
        }
        Resource::Destination => {
            bucket::plan(resource, &desired.destination, &observed.destination, facts)?
                .map(Step::Destination)
        }
        Resource::Connection => {
            connection::plan(&desired.connection, observed.connection.as_ref(), facts)?
                .map(Step::Connection)
        }
        Resource::Topic => {
            topic::plan(&desired.topic, observed.topic.as_ref(), facts)?.map(Step::Topic)
        }
        Resource::Role => role::plan(&desired.role, observed.role.as_ref(), facts)?.map(Step::Role),
        Resource::Pipeline => {
            let (found, connection) = (observed.pipeline.as_ref(), observed.connection.as_ref());
            pipeline::plan(&desired.pipeline, found, connection, facts)?.map(Step::Pipeline)
        }
        Resource::ServiceLinkedRole => {
            let wants_rule = desired.notification_rule.own().is_some();
            let there = observed.service_linked_role;
            service_linked_role::is_missing(wants_rule, rule.is_some(), there)
                .then_some(Step::CreateServiceLinkedRole)
        }
        Resource::NotificationRule => {
            let can_be_made = observed.service_linked_role && observed.pipeline.is_some();
            notification_rule::plan(&desired.notification_rule, rule, can_be_made, facts)?
                .map(Step::NotificationRule)
        }
        Resource::Readers => {
            let unknown = &observed.unknown_readers;
            reader_policy::plan(&desired.readers, observed.policy(), unknown, rule.is_some())?
                .map(Step::Readers)
        }
        Resource::DeadLetterQueue => {
            let found = observed.dead_letter_queue.as_ref();
            queue::plan(resource, &desired.dead_letter_queue, found, facts)?
                .map(Step::DeadLetterQueue)
        }
        Resource::Queue => {
            queue::plan(resource, &desired.queue, observed.queue.as_ref(), facts)?.map(Step::Queue)
        }
        Resource::EventRule => {
            event_rule::plan(&desired.event_rule, observed.event_rule.as_ref(), facts)?
                .map(Step::EventRule)
        }
    })
}

/// Whether a step would create a second time what the operator created a short while ago, and what
/// AWS does not show yet.
fn is_unseen(proposed: &Planned<Step>, desired: &Desired, facts: &Facts<'_>) -> bool {
    let (Ok(Some(step)), Some(young)) = (proposed, facts.young) else {
        return false;
    };
    let resource = step.resource();
    let recorded = young.get(resource.as_str());
    let wanted = |arn: &String| desired.wants(resource, arn, &facts.place.partition);
    step.creates() && recorded.is_some_and(wanted)
}

/// Refuses to change what the tags do not call ours.
fn owned(draft: Draft, facts: &Facts<'_>) -> Draft {
    draft.judge(|step| {
        let resource = step.resource();
        if let Action::Update(_, Some((tags, called))) = step.parts().action
            && !facts.may_write(resource, tags)
        {
            let message = format!(
                "{resource} {called} exists already, and {}; it is left untouched. Delete or \
                     rename it, or choose another name",
                facts.owner.describe_owner(tags)
            );
            return Err(Refusal::new(Reason::NotOwned, message));
        }
        Ok(Some(step))
    })
}

/// Refuses to move what is tagged with another region: the rest was made there.
fn placed(draft: Draft, facts: &Facts<'_>) -> Draft {
    draft.judge(|step| {
        if let Action::Update(delta, Some((_, called))) = step.parts().action
            && let Some(region) = delta.tag_before(REGION).filter(|r| !r.is_empty())
        {
            let message = format!(
                "{called} serves resources in region {region}, and this object's region is {} now; \
                     nothing is built a second time. Give the operator its former region back, or \
                     delete this object with that and create it anew",
                facts.place.region
            );
            return Err(Refusal::new(Reason::PlacementChanged, message));
        }
        Ok(Some(step))
    })
}

/// Holds back a new structure of the pipeline, which would cancel the execution that runs.
fn hold(mut draft: Draft, facts: &Facts<'_>) -> Draft {
    let mut held = false;
    draft = draft.judge(|step| {
        let cancels = step.delta().is_some_and(|d| d.has(Field::Declaration));
        held |= cancels && facts.hold_pipeline;
        Ok((!cancels || !facts.hold_pipeline).then_some(step))
    });
    Draft { held, ..draft }
}

/// Tells what is taken over.
fn adopt(mut draft: Draft, facts: &Facts<'_>) -> Draft {
    let mut adopted = Vec::new();
    draft = draft.judge(|step| {
        let resource = step.resource();
        if let Action::Update(delta, _) = step.parts().action
            && takes_over(resource, delta, facts)
        {
            adopted.push(format!("{resource}: {}", delta.describe()));
        }
        Ok(Some(step))
    });
    Draft { adopted, ..draft }
}

fn takes_over(resource: Resource, delta: &Delta, facts: &Facts<'_>) -> bool {
    facts.adopt.contains(&resource) && delta.tags().contains_key(ADOPTED)
}

/// Tells what somebody changed, and leaves it so where it is only to be shown.
fn drift(mut draft: Draft, facts: &Facts<'_>) -> Draft {
    let mut drift = Vec::new();
    draft = draft.judge(|step| {
        let resource = step.resource();
        let told = match step.parts().action {
            Action::Create if facts.made(resource) => format!("{resource}: somebody deleted it"),
            Action::Update(delta, _)
                if !takes_over(resource, delta, facts)
                    && (facts.made(resource) || (facts.detect && facts.unrecorded)) =>
            {
                format!("{resource}: {}", delta.describe())
            }
            Action::Create | Action::Update(..) | Action::Delete => return Ok(Some(step)),
        };
        drift.push(told);
        Ok((!facts.detect).then_some(step))
    });
    Draft { drift, ..draft }
}

/// Turns all steps into a refusal that tells them, where nothing may be written.
pub fn read_only(mut plan: Plan, facts: &Facts<'_>) -> Plan {
    if facts.read_only && !plan.steps.is_empty() {
        let steps: Vec<String> = plan.steps.drain(..).map(|step| step.to_string()).collect();
        plan.refusals.push(not_written(&steps.join("; ")));
    }
    plan
}

/// The refusal of a read-only operator, which says what it would do.
pub fn not_written(would: &str) -> Refusal {
    let message = format!("the operator runs with --read-only, and would {would}");
    Refusal::new(Reason::ReadOnly, message)
}

#[cfg(test)]
mod tests;
