//! Preview of the writes to AWS for an object, as text that reads like a diff.

use std::fmt;

use crate::domain::kind::Resource;
use crate::domain::placement::Placement;
use crate::reconcile::record::Resources;
use crate::resource::connection::ConnectionState;
use crate::resource::delta::Field;
use crate::resource::plan::{Plan, Step};
use crate::resource::{Desired, Observed};

/// The writes of a pass, by the time at which they would happen.
#[derive(Debug, Default)]
pub struct Preview {
    place: String,
    refused: Vec<String>,
    now: Vec<String>,
    authorized: Vec<String>,
    delivered: Vec<String>,
}

impl Preview {
    /// Creates an empty preview for this placement.
    pub fn of(place: &Placement) -> Self {
        Self {
            place: format!("account {}, region {}", place.account, place.region),
            ..Self::default()
        }
    }

    /// Returns whether only tags would be written.
    pub fn changes_tags_alone(&self) -> bool {
        let nothing = [&self.refused, &self.authorized, &self.delivered]
            .into_iter()
            .all(Vec::is_empty);
        nothing
            && self
                .now
                .iter()
                .all(|line| line.starts_with("~ ") || line.trim_start().starts_with("tags."))
    }

    /// Adds the steps of a plan, the resources that wait for the connection, and the orphaned
    /// resources.
    pub fn add(&mut self, plan: Plan, desired: &Desired, observed: &Observed, orphaned: Resources) {
        self.refused.extend(
            plan.refusals
                .into_iter()
                .map(|r| format!("{}: {}", r.reason.as_str(), r.message)),
        );
        for step in &plan.steps {
            let named = format!(
                "{} {}{}",
                step.resource(),
                step.name(),
                copies(step.resource(), desired)
            );
            match (step, step.delta()) {
                (Step::DeleteSpareConnection(arn), _) => self
                    .now
                    .push(format!("- spare connection {arn}, which nobody authorized")),
                (_, None) => self.now.push(format!("+ {named}")),
                (_, Some(delta)) => {
                    self.now.push(format!("~ {named}"));
                    let changes = delta
                        .0
                        .iter()
                        .map(|c| format!("    {}: {} -> {}", c.path, shown(&c.from), shown(&c.to)));
                    self.now.extend(changes);
                    if delta.has(Field::Declaration) {
                        self.now
                            .push("> an execution of the pipeline, which delivers anew".to_owned());
                    }
                }
            }
        }
        let available = observed
            .connection
            .as_ref()
            .is_some_and(|c| c.state == ConnectionState::Available);
        let planned = |resource| plan.steps.iter().any(|s| s.resource() == resource);
        for (resource, is_desired, exists) in [
            (
                Resource::Pipeline,
                desired.pipeline.own().is_some(),
                observed.pipeline.is_some(),
            ),
            (
                Resource::NotificationRule,
                desired.notification_rule.own().is_some(),
                observed.notification_rule.is_some(),
            ),
            (
                Resource::Readers,
                desired
                    .readers
                    .own()
                    .is_some_and(|r| r.writable && !r.statements.is_empty()),
                desired
                    .readers
                    .own()
                    .is_some_and(|r| r.any(observed.policy())),
            ),
        ] {
            if is_desired && !exists && !planned(resource) {
                let later = if available {
                    &mut self.now
                } else {
                    &mut self.authorized
                };
                later.push(format!("+ {}", named(resource, desired)));
            }
        }
        self.delivered.extend(
            orphaned
                .iter()
                .map(|(resource, arn)| format!("- {resource} {arn}, as spec.deletion says")),
        );
    }
}

/// Returns the resource with its name in AWS.
fn named(resource: Resource, desired: &Desired) -> String {
    let name = desired.name(resource).unwrap_or_default();
    format!("{resource} {name}{}", copies(resource, desired))
}

/// Returns what a pipeline copies.
fn copies(resource: Resource, desired: &Desired) -> String {
    let target = desired.target().filter(|_| resource == Resource::Pipeline);
    let copies = target.map(|t| {
        let to = format!("s3://{}/{}", t.bucket, t.prefix);
        format!(": {} {} -> {to}", t.repository, t.branch)
    });
    copies.unwrap_or_default()
}

fn shown(value: &str) -> &str {
    if value.is_empty() { "nothing" } else { value }
}

impl fmt::Display for Preview {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "in {}", self.place)?;
        for refused in &self.refused {
            writeln!(f, "  ! {refused}")?;
        }
        self.now
            .iter()
            .try_for_each(|line| writeln!(f, "  {line}"))?;
        for (when, lines) in [
            (
                "once a person has authorized the connection",
                &self.authorized,
            ),
            ("once the new place has been delivered to", &self.delivered),
        ] {
            if !lines.is_empty() {
                writeln!(f, "  {when}:")?;
                lines
                    .iter()
                    .try_for_each(|line| writeln!(f, "    {line}"))?;
            }
        }
        if self.is_empty() {
            writeln!(f, "  nothing to write")?;
        }
        Ok(())
    }
}

impl Preview {
    /// Returns whether nothing would be written and nothing is refused.
    pub fn is_empty(&self) -> bool {
        [&self.refused, &self.now, &self.authorized, &self.delivered]
            .into_iter()
            .all(Vec::is_empty)
    }

    /// Returns whether something is refused.
    pub fn is_refused(&self) -> bool {
        !self.refused.is_empty()
    }
}
