//! What happened → status and events. Pure.

mod class;
mod notice;
mod progress;

use std::collections::BTreeMap;

use jiff::Timestamp;
use k8s_controller::conditions::{self, ConditionStatus, DesiredCondition};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;

use crate::api::condition::{ConditionType, Reason};
use crate::api::status::{
    CommitStatus, ConnectionStatus, DeliveredStatus, ExecutionStatus, FailureStatus,
    RepoFanoutStatus,
};
use crate::domain::arn;
use crate::domain::execution::{Commit, Execution, ExecutionState, Failure, FailureKind, Target};
use crate::domain::placement::Placement;
use crate::resource::connection::ObservedConnection;
pub use class::{ClassLook, class_status};
pub use notice::{Notice, notices, transitions};
pub use progress::{Progress, overdue, progress, said};

/// The longest message of a condition; the API server allows 32,768 characters.
const LONGEST_MESSAGE: usize = 1024;

/// What one pass saw.
#[derive(Clone, Debug)]
pub struct Look<'a> {
    /// Generation of the spec.
    pub generation: Option<i64>,
    /// Whether the pass came to a conclusion about this generation.
    pub concluded: bool,
    /// Where the resources live.
    pub place: Option<&'a Placement>,
    /// The repository, for links.
    pub repository: &'a str,
    /// The connection.
    pub connection: Option<&'a ObservedConnection>,
    /// How far the resources are.
    pub progress: Progress,
    /// What differs from the spec and is left so; nothing if it was not looked for.
    pub drift: Option<&'a [String]>,
    /// Newest first, if asked for.
    pub executions: Option<&'a [Execution]>,
    /// Why the newest execution failed.
    pub failure: Option<&'a Failure>,
    /// What an object may do without.
    pub optional: &'a [Optional],
}

/// Something that an object may do without; `Ready` does not depend on it.
#[derive(Clone, Debug)]
pub struct Optional {
    /// Its condition.
    pub type_: ConditionType,
    /// Whether the spec asks for it.
    pub asked: bool,
    /// What came of it, if anything did.
    pub told: Option<(Reason, String)>,
}

/// The status after a pass; what the pass did not look at stays as it was.
pub fn status(before: &RepoFanoutStatus, look: &Look<'_>) -> RepoFanoutStatus {
    let mut next = before.clone();
    if let Some(place) = look.place {
        if let Some(connection) = look.connection {
            let intent = next.connection.take().and_then(|c| c.intent);
            next.connection = Some(ConnectionStatus {
                arn: Some(connection.arn.clone()),
                status: Some(connection.state.as_str().to_owned()),
                authorize_url: Some(place.authorize_url(&connection.arn)),
                intent,
            });
        }
        if let Some(executions) = look.executions {
            let provider = look.connection.map_or("", |c| &*c.provider);
            next.last_execution = executions.first().map(|newest| {
                let failure = look.failure.map(|f| failure_status(f, &next.resources));
                execution_status(newest, look.repository, provider, place, failure)
            });
        }
    }
    set_conditions(&mut next, look);
    next
}

fn execution_status(
    execution: &Execution,
    repository: &str,
    provider: &str,
    place: &Placement,
    failure: Option<FailureStatus>,
) -> ExecutionStatus {
    ExecutionStatus {
        id: execution.id.clone(),
        status: execution.state.as_str().to_owned(),
        trigger: execution.trigger.clone(),
        commit: execution
            .commit
            .as_ref()
            .map(|c| commit_status(c, repository, provider)),
        started_at: Some(whole_second(execution.started_at)),
        finished_at: (!execution.state.is_running()).then(|| whole_second(execution.updated_at)),
        url: Some(place.execution_url(&place.base_name, &execution.id)),
        failure: failure.map(Box::new),
    }
}

/// What the execution left in the bucket.
pub fn delivered(execution: &Execution, target: &Target, provider: &str) -> DeliveredStatus {
    DeliveredStatus {
        execution: execution.id.clone(),
        commit: execution
            .commit
            .as_ref()
            .map(|c| commit_status(c, &target.repository, provider)),
        repository: target.repository.clone(),
        branch: target.branch.clone(),
        bucket: target.bucket.clone(),
        prefix: target.prefix.clone(),
        at: Some(whole_second(execution.updated_at)),
    }
}

fn whole_second(time: Timestamp) -> Timestamp {
    Timestamp::from_second(time.as_second()).unwrap_or(time)
}

fn commit_status(commit: &Commit, repository: &str, provider: &str) -> CommitStatus {
    let id = &commit.id;
    // The revision's own URL leads to the AWS console; hosts of one's own are not known here.
    let url = match provider {
        "GitHub" => Some(format!("https://github.com/{repository}/commit/{id}")),
        "GitLab" => Some(format!("https://gitlab.com/{repository}/-/commit/{id}")),
        "Bitbucket" => Some(format!("https://bitbucket.org/{repository}/commits/{id}")),
        _ => None,
    };
    let first_line = |m: &String| {
        m.lines()
            .next()
            .unwrap_or_default()
            .chars()
            .take(256)
            .collect()
    };
    CommitStatus {
        id: id.clone(),
        short_id: id.chars().take(7).collect(),
        message: commit.message.as_ref().map(first_line),
        url,
    }
}

fn failure_status(failure: &Failure, resources: &BTreeMap<String, String>) -> FailureStatus {
    let own: Vec<&str> = resources.values().map(String::as_str).collect();
    FailureStatus {
        stage: failure.stage.clone(),
        code: failure.code.clone(),
        message: cap(&arn::filter(&failure.message, &own)),
    }
}

struct Verdict(ConditionStatus, Reason, String);

fn set_conditions(status: &mut RepoFanoutStatus, look: &Look<'_>) {
    use ConditionStatus::{False, True};
    let connection = status.connection.as_ref().and_then(connection_verdict);
    let provisioned = provisioned_verdict(&look.progress);
    let delivered = delivered_verdict(status, look);
    let refused = matches!(look.progress, Progress::Refused(_))
        || (look.progress == Progress::Unchanged
            && find(&status.conditions, ConditionType::Stalled).is_some());

    if let Some(Verdict(state, reason, message)) = connection {
        set(
            &mut status.conditions,
            look.generation,
            ConditionType::ConnectionAvailable,
            state,
            reason,
            &message,
        );
    }
    if let Some(Verdict(state, reason, message)) = provisioned {
        set(
            &mut status.conditions,
            look.generation,
            ConditionType::Provisioned,
            state,
            reason,
            &message,
        );
    }
    if let Some(drift) = look.drift {
        let (state, reason, message) = match drift {
            [] => (False, Reason::NoDrift, "AWS is as the spec says".to_owned()),
            found => (True, Reason::DriftDetected, found.join("; ")),
        };
        set(
            &mut status.conditions,
            look.generation,
            ConditionType::Drifted,
            state,
            reason,
            &message,
        );
    }
    if let Some(Verdict(state, reason, message)) = delivered {
        set(
            &mut status.conditions,
            look.generation,
            ConditionType::Delivered,
            state,
            reason,
            &message,
        );
    }
    for Optional { type_, asked, told } in look.optional {
        if !asked {
            conditions::remove(&mut status.conditions, type_.as_str());
            match type_ {
                ConditionType::Pruned => status.pruned = None,
                ConditionType::Announced => status.announced = None,
                _ => {}
            }
        } else if let Some((reason, message)) = told {
            let done = matches!(
                reason,
                Reason::Pruned | Reason::NothingToPrune | Reason::Announced | Reason::Subscribed
            );
            set(
                &mut status.conditions,
                look.generation,
                *type_,
                if done { True } else { False },
                *reason,
                message,
            );
        }
    }
    let Verdict(state, reason, message) = ready_verdict(status, refused);
    set(
        &mut status.conditions,
        look.generation,
        ConditionType::Ready,
        state,
        reason,
        &message,
    );

    let failed = matches!(
        reason,
        Reason::DeliveryFailed | Reason::RepositoryNotAccessible
    );
    let reconciling = !refused && !failed && state != True;
    kstatus(
        &mut status.conditions,
        look.generation,
        (refused, reconciling),
        reason,
        &message,
    );
    if look.concluded {
        status.observed_generation = look.generation;
    }
}

fn set(
    conditions: &mut Vec<Condition>,
    generation: Option<i64>,
    type_: ConditionType,
    state: ConditionStatus,
    reason: Reason,
    message: &str,
) {
    let desired = DesiredCondition::new(type_.as_str(), state, reason.as_str(), cap(message));
    let _ = conditions::set(conditions, desired.observed_generation(generation));
}

/// kstatus: abnormal conditions stand only while they hold.
fn kstatus(
    conditions: &mut Vec<Condition>,
    generation: Option<i64>,
    (stalled, reconciling): (bool, bool),
    reason: Reason,
    message: &str,
) {
    for (type_, holds) in [
        (ConditionType::Stalled, stalled),
        (ConditionType::Reconciling, reconciling),
    ] {
        if holds {
            set(
                conditions,
                generation,
                type_,
                ConditionStatus::True,
                reason,
                message,
            );
        } else {
            conditions::remove(conditions, type_.as_str());
        }
    }
}

fn find(conditions: &[Condition], type_: ConditionType) -> Option<&Condition> {
    conditions::find(conditions, type_.as_str())
}

fn is_true(conditions: &[Condition], type_: ConditionType) -> bool {
    find(conditions, type_).is_some_and(|c| c.status == "True")
}

fn provisioned_verdict(progress: &Progress) -> Option<Verdict> {
    match progress {
        Progress::Settled => Some(Verdict(
            ConditionStatus::True,
            Reason::Provisioned,
            "everything in AWS is as the spec says".to_owned(),
        )),
        Progress::Unchanged => None,
        Progress::Waiting(reason, message) => {
            Some(Verdict(ConditionStatus::False, *reason, message.clone()))
        }
        Progress::Refused(refusals) => {
            let text: Vec<&str> = refusals.iter().map(|r| &*r.message).collect();
            Some(Verdict(
                ConditionStatus::False,
                refusals[0].reason,
                text.join("; "),
            ))
        }
    }
}

fn connection_verdict(connection: &ConnectionStatus) -> Option<Verdict> {
    let url = connection.authorize_url.as_deref().unwrap_or_default();
    let verdict = match connection.status.as_deref()? {
        "AVAILABLE" => Verdict(
            ConditionStatus::True,
            Reason::ConnectionAvailable,
            "a person has authorized the connection".to_owned(),
        ),
        "PENDING" => Verdict(
            ConditionStatus::False,
            Reason::ConnectionPending,
            format!(
                "authorize the connection once, as an owner of the organization: open {url} and \
                     choose 'Update pending connection'"
            ),
        ),
        _ => Verdict(
            ConditionStatus::False,
            Reason::ConnectionError,
            format!(
                "the provider refuses the connection, AWS tries again by itself; see {url}, and \
                     whether the app is still installed"
            ),
        ),
    };
    Some(verdict)
}

fn delivered_verdict(status: &RepoFanoutStatus, look: &Look<'_>) -> Option<Verdict> {
    let executions = look.executions?;
    let ended = executions
        .iter()
        .find(|e| matches!(e.state, ExecutionState::Succeeded | ExecutionState::Failed));
    let newest_failed = executions
        .first()
        .is_some_and(|e| e.state == ExecutionState::Failed);
    let verdict = match (ended.map(|e| &e.state), look.failure) {
        (Some(ExecutionState::Failed), Some(failure)) if newest_failed => {
            let words = failure_status(failure, &status.resources).message;
            match failure.kind() {
                FailureKind::Repository => Verdict(
                    ConditionStatus::False,
                    Reason::RepositoryNotAccessible,
                    format!(
                        "the connection's app may not read {}: {words}; grant the AWS Connector \
                             app access to that repository in the provider's settings of \
                             installed apps, or correct spec.repository (its case counts), then \
                             push or release again",
                        look.repository
                    ),
                ),
                kind => {
                    let hint = match kind {
                        FailureKind::Permission => {
                            "; if the operator has to write the permission it does so and starts \
                                 the execution again"
                        }
                        _ => {
                            "; mend it and push, or set the annotation \
                                 repofanout.dev/release-requested-at to start an execution"
                        }
                    };
                    let code = failure
                        .code
                        .as_ref()
                        .map(|c| format!("{c}: "))
                        .unwrap_or_default();
                    Verdict(
                        ConditionStatus::False,
                        Reason::DeliveryFailed,
                        format!(
                            "the {} stage of the last execution failed: {code}{words}{hint}",
                            failure.stage
                        ),
                    )
                }
            }
        }
        // Failed, and a newer one runs or was cancelled: not over yet.
        (Some(ExecutionState::Failed), _) => {
            let before = find(&status.conditions, ConditionType::Delivered)?;
            if before.status == "False" {
                return None;
            }
            not_yet("the last execution failed and another one is on its way")
        }
        _ => match &status.delivered {
            Some(d) => {
                let commit = d
                    .commit
                    .as_ref()
                    .map(|c| format!(" commit {}", c.short_id))
                    .unwrap_or_default();
                Verdict(
                    ConditionStatus::True,
                    Reason::Delivered,
                    format!(
                        "s3://{}/{} holds{commit} of {} branch {}",
                        d.bucket, d.prefix, d.repository, d.branch
                    ),
                )
            }
            None => not_yet("no execution has succeeded yet"),
        },
    };
    Some(verdict)
}

fn not_yet(message: &str) -> Verdict {
    Verdict(
        ConditionStatus::Unknown,
        Reason::NotYetDelivered,
        message.to_owned(),
    )
}

/// The first of the conditions, in the order of cause and effect, that keeps a push from arriving.
fn ready_verdict(status: &RepoFanoutStatus, refused: bool) -> Verdict {
    let blocking = |type_| find(&status.conditions, type_).filter(|c| c.status != "True");
    let provisioned = blocking(ConditionType::Provisioned);
    let first = provisioned
        .filter(|_| refused)
        .or_else(|| blocking(ConditionType::ConnectionAvailable))
        .or(provisioned)
        .or_else(|| blocking(ConditionType::Delivered));
    match first {
        Some(c) => Verdict(
            if c.status == "Unknown" {
                ConditionStatus::Unknown
            } else {
                ConditionStatus::False
            },
            reason(&c.reason),
            c.message.clone(),
        ),
        None if is_true(&status.conditions, ConditionType::Delivered) => {
            let message = find(&status.conditions, ConditionType::Delivered)
                .map(|c| c.message.clone())
                .unwrap_or_default();
            Verdict(ConditionStatus::True, Reason::Delivered, message)
        }
        None => not_yet("no execution has succeeded yet"),
    }
}

fn reason(text: &str) -> Reason {
    Reason::ALL
        .iter()
        .copied()
        .find(|r| r.as_str() == text)
        .unwrap_or(Reason::Provisioning)
}

/// The status of an object that is not looked at: only that is told anew.
pub fn suspended(before: &RepoFanoutStatus, generation: Option<i64>) -> RepoFanoutStatus {
    let mut next = before.clone();
    next.observed_generation = generation;
    let message = "spec.suspend is true: the operator does not look at AWS; the pipeline goes on";
    set(
        &mut next.conditions,
        generation,
        ConditionType::Provisioned,
        ConditionStatus::Unknown,
        Reason::Suspended,
        message,
    );
    conditions::remove(&mut next.conditions, ConditionType::Reconciling.as_str());
    next
}

/// The conditions of an object that is being deleted.
pub fn deleting(
    conditions: &mut Vec<Condition>,
    generation: Option<i64>,
    reason: Reason,
    message: &str,
) {
    let (holds, other) = if reason == Reason::Deleting {
        (ConditionType::Reconciling, ConditionType::Stalled)
    } else {
        (ConditionType::Stalled, ConditionType::Reconciling)
    };
    set(
        conditions,
        generation,
        ConditionType::Ready,
        ConditionStatus::False,
        reason,
        message,
    );
    set(
        conditions,
        generation,
        holds,
        ConditionStatus::True,
        reason,
        message,
    );
    conditions::remove(conditions, other.as_str());
}

fn cap(text: &str) -> String {
    match text.char_indices().nth(LONGEST_MESSAGE - 1) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_capped_by_characters() {
        assert_eq!(cap(&"ü".repeat(3000)).chars().count(), LONGEST_MESSAGE);
        assert_eq!(cap("short"), "short");
    }
}
