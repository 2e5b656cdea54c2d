//! The status of a fan-out.

use jiff::{SignedDuration, Timestamp};
use k8s_controller::conditions;

use crate::api::condition::{ConditionType, Kind, Reason};
use crate::api::status::{FailureStatus, RepoFanoutStatus};
use crate::api::{RELEASE_REQUESTED_AT, STOP_REQUESTED_AT};
use crate::cloud::advice::{Situation, of_failure};
use crate::domain::arn;
use crate::domain::arn::Audience;
use crate::domain::delivery::{Cause, Exhausted, Standstill};
use crate::domain::execution::{Execution, ExecutionState, Failure, FailureKind, Stuck};
use crate::domain::kind::Resource;
use crate::domain::placement::Placement;
use crate::resource::connection::ObservedConnection;
use crate::status::connection::{self, Remote, connection_status};
use crate::status::progress::Progress;
use crate::status::summary::{PassOutcome, not_yet_delivered};
use crate::status::verdict::{Verdict, cap};

/// The message of an object whose connection waits for a person.
pub const AWAITS_CONNECTION: &str =
    "the operator creates the pipeline and the notification rule once the connection is AVAILABLE";

/// The results of one pass over a fan-out.
#[derive(Clone, Debug)]
pub struct Observation<'a> {
    /// How the pass ended.
    pub outcome: PassOutcome,
    /// Account, region and names of the resources.
    pub place: Option<&'a Placement>,
    /// The repository, for links and messages.
    pub repository: &'a str,
    /// The situation in which its pipeline copies.
    pub copying: Situation<'a>,
    /// The connection.
    pub connection: Option<&'a ObservedConnection>,
    /// Differences from the spec that are left uncorrected; none unless the spec asks for `Detect`.
    pub drift: Option<&'a [String]>,
    /// The executions, newest first, if the pass read them.
    pub executions: Option<&'a [Execution]>,
    /// Why the newest execution failed.
    pub failure: Option<&'a Failure>,
    /// Why nothing more is delivered by itself now, although it should be.
    pub standstill: Option<&'a Standstill>,
    /// The outcomes of the features.
    pub features: Features,
}

/// The outcome of each optional feature. `Ready` does not depend on them.
#[derive(Clone, Debug, Default)]
pub struct Features {
    /// `destination.prune`.
    pub prune: FeatureOutcome,
    /// `notifications.announce`.
    pub announce: FeatureOutcome,
    /// `notifications.subscribers`.
    pub subscribe: FeatureOutcome,
}

/// The outcome of one feature.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum FeatureOutcome {
    /// The pass did not observe it: its condition stays as it was.
    #[default]
    Unchanged,
    /// The spec does not ask for it: it has no condition.
    NotAsked,
    /// Its condition has this reason and message.
    Now(Reason, String),
}

/// The status after a pass. Whatever the pass did not observe stays as it was.
pub fn status(before: &RepoFanoutStatus, observation: &Observation<'_>) -> RepoFanoutStatus {
    let mut next = before.clone();
    if let Some(place) = observation.place {
        if let Some(connection) = observation.connection {
            let before = next.connection.as_ref();
            next.connection = Some(connection_status(place, connection, before));
        }
        if let Some(executions) = observation.executions {
            let provider = observation.connection.map_or("", |c| &*c.provider);
            next.last_execution = executions.first().map(|newest| {
                let failure = observation
                    .failure
                    .map(|f| failure_status(f, observation.copying.audience));
                newest.status(observation.repository, provider, place, failure)
            });
        }
    }
    let remote = Remote {
        provider: observation.connection.map_or("", |c| &*c.provider),
        repository: observation.repository,
    };
    let mut connection = next
        .connection
        .as_ref()
        .and_then(|recorded| connection::verdict(recorded, remote));
    if observation.connection.is_none() {
        // A pass that did not observe it knows no provider: the words stay as they were.
        let before = ConditionType::ConnectionAvailable.find(&next.conditions);
        if let (Some(verdict), Some(before)) = (&mut connection, before)
            && verdict.reason.as_str() == before.reason
        {
            verdict.message.clone_from(&before.message);
        }
    }
    let verdicts: Vec<Verdict> = [
        connection,
        observation.outcome.progress.verdict(),
        observation.drift.map(drift_verdict),
        delivered_verdict(&next, observation),
    ]
    .into_iter()
    .flatten()
    .chain(feature_verdicts(&mut next, &observation.features))
    .collect();
    observation.outcome.summarize(
        Kind::Fanout,
        verdicts,
        &mut next.conditions,
        &mut next.observed_generation,
    );
    next
}

/// The status just after the object's own connection was created. It has the connection's ARN, its
/// link and the reason for waiting at once, so that a reader finds all three together.
pub fn connection_made(
    before: &RepoFanoutStatus,
    generation: Option<i64>,
    place: &Placement,
    made: &ObservedConnection,
) -> RepoFanoutStatus {
    let mut next = before.clone();
    let connection = connection_status(place, made, before.connection.as_ref());
    let outcome = PassOutcome {
        generation,
        concluded: false,
        progress: Progress::Waiting(Reason::Provisioning, AWAITS_CONNECTION.to_owned()),
    };
    let remote = Remote {
        provider: &made.provider,
        repository: "",
    };
    let verdicts = [
        connection::verdict(&connection, remote),
        outcome.progress.verdict(),
    ];
    outcome.summarize(
        Kind::Fanout,
        verdicts.into_iter().flatten(),
        &mut next.conditions,
        &mut next.observed_generation,
    );
    next.connection = Some(connection);
    next.resources
        .insert(Resource::Connection.as_str().to_owned(), made.arn.clone());
    next
}

/// The status of a suspended object. Nothing but the suspension is new.
pub fn suspended(before: &RepoFanoutStatus, generation: Option<i64>) -> RepoFanoutStatus {
    let mut next = before.clone();
    next.observed_generation = generation;
    Verdict::new(
        ConditionType::Provisioned,
        Reason::Suspended,
        "spec.suspend is true: the operator does not look at AWS; the pipeline goes on",
    )
    .set(&mut next.conditions, generation);
    conditions::remove(&mut next.conditions, ConditionType::Reconciling.as_str());
    next
}

/// The verdicts on the features that the spec asks for. Removes the others from the status.
fn feature_verdicts(status: &mut RepoFanoutStatus, features: &Features) -> Vec<Verdict> {
    let Features {
        prune,
        announce,
        subscribe,
    } = features;
    if *prune == FeatureOutcome::NotAsked {
        status.pruned = None;
    }
    if *announce == FeatureOutcome::NotAsked {
        status.announced = None;
    }
    let mut verdicts = Vec::new();
    for (type_, outcome) in [
        (ConditionType::Pruned, prune),
        (ConditionType::Announced, announce),
        (ConditionType::Subscribed, subscribe),
    ] {
        match outcome {
            FeatureOutcome::Unchanged => {}
            FeatureOutcome::NotAsked => {
                conditions::remove(&mut status.conditions, type_.as_str());
            }
            FeatureOutcome::Now(reason, message) => {
                verdicts.push(Verdict::new(type_, *reason, message));
            }
        }
    }
    verdicts
}

fn drift_verdict(drift: &[String]) -> Verdict {
    let (reason, message) = match drift {
        [] => (Reason::NoDrift, "AWS is as the spec says".to_owned()),
        found => (Reason::DriftDetected, found.join("; ")),
    };
    Verdict::new(ConditionType::Drifted, reason, message)
}

fn delivered_verdict(status: &RepoFanoutStatus, observation: &Observation<'_>) -> Option<Verdict> {
    let executions = observation.executions?;
    let runs = |id: &str| {
        let mut all = executions.iter();
        all.any(|e| e.id == id && e.state.is_running())
    };
    let words = |failure| failure_status(failure, observation.copying.audience).message;
    match observation.standstill {
        Some(Standstill::Stuck(stuck)) if runs(&stuck.execution) => {
            return Some(stuck_verdict(stuck));
        }
        Some(Standstill::Exhausted(cause, limit)) => {
            let failure = observation.failure.map(words);
            return Some(exhausted_verdict(*cause, *limit, failure));
        }
        Some(Standstill::Stuck(_)) | None => {}
    }
    let ended = executions
        .iter()
        .find(|e| matches!(e.state, ExecutionState::Succeeded | ExecutionState::Failed));
    let newest_failed = executions
        .first()
        .is_some_and(|e| e.state == ExecutionState::Failed);
    let verdict = match (ended.map(|e| &e.state), observation.failure) {
        (Some(ExecutionState::Failed), Some(failure)) if newest_failed => failure_verdict(
            failure,
            &words(failure),
            &observation.copying,
            observation.repository,
        ),
        // A newer execution runs or was cancelled, so the failure is not final yet.
        (Some(ExecutionState::Failed), _) => {
            let before = ConditionType::Delivered.find(&status.conditions)?;
            if before.status == "False" {
                return None;
            }
            not_yet_delivered("the last execution failed, and another one is running or will start")
        }
        _ => match &status.delivered {
            Some(d) => {
                let commit = d
                    .commit
                    .as_ref()
                    .map(|c| format!(" commit {}", c.short_id))
                    .unwrap_or_default();
                Verdict::new(
                    ConditionType::Delivered,
                    Reason::Delivered,
                    format!(
                        "s3://{}/{} holds{commit} of {} branch {}",
                        d.bucket, d.prefix, d.repository, d.branch
                    ),
                )
            }
            None => not_yet_delivered("no execution has succeeded yet"),
        },
    };
    Some(verdict)
}

/// The verdict on an execution that is due and may not be started any more.
fn exhausted_verdict(cause: Cause, limit: Exhausted, failure: Option<String>) -> Verdict {
    let failure = failure.map(|words| format!("the last execution failed: {words}; "));
    Verdict::new(
        ConditionType::Delivered,
        Reason::StartsExhausted,
        format!(
            "{}an execution is due, because {}, and the operator has started {} by itself already; \
             push, or set the annotation {RELEASE_REQUESTED_AT} to start one",
            failure.unwrap_or_default(),
            cause.message(),
            limit.message(),
        ),
    )
}

/// The verdict on an execution that does not end, with what a person can do about it.
fn stuck_verdict(stuck: &Stuck) -> Verdict {
    let Stuck {
        execution,
        action,
        limit,
        is_stopping,
    } = stuck;
    let since = Timestamp::from_second(action.since.as_second()).unwrap_or(action.since);
    let limit = SignedDuration::try_from(*limit).unwrap_or_default();
    let advice = match is_stopping {
        true => "It is stopping, and does not end either; another value of the annotation",
        false => "The annotation",
    };
    let effect = match stuck.abandons() {
        true => "stops it at once",
        false => "stops it once what it copies has been copied",
    };
    Verdict::new(
        ConditionType::Delivered,
        Reason::ExecutionStuck,
        format!(
            "execution {execution} has been in its {} stage since {since}, and that stage takes less \
             than {limit:#} as a rule; nothing else is delivered until it ends. {advice} \
             {STOP_REQUESTED_AT} {effect}; then push, or set the annotation {RELEASE_REQUESTED_AT}",
            action.stage,
        ),
    )
}

/// The verdict on a failed execution, with what a person can do about it.
fn failure_verdict(
    failure: &Failure,
    words: &str,
    copying: &Situation<'_>,
    repository: &str,
) -> Verdict {
    let code = failure
        .code
        .as_ref()
        .map(|c| format!("{c}: "))
        .unwrap_or_default();
    let advice = of_failure(failure, copying).map(|advice| {
        format!(
            "{}; then push, or set the annotation {RELEASE_REQUESTED_AT}",
            advice.text
        )
    });
    let failed = |otherwise: String| {
        let stage = &failure.stage;
        let advice = advice.clone().unwrap_or(otherwise);
        (
            Reason::DeliveryFailed,
            format!("the {stage} stage of the last execution failed: {code}{words}; {advice}"),
        )
    };
    let (reason, message) = match failure.kind() {
        FailureKind::Repository => (
            Reason::RepositoryNotAccessible,
            format!(
                "the AWS Connector app behind the connection may not read {repository}: {words}; {}",
                advice.unwrap_or_default()
            ),
        ),
        FailureKind::Permission => failed(
            "the operator writes the permissions of roles that it owns and then starts another \
                 execution by itself; if the failure persists, check the policies of the pipeline's \
                 role, the buckets and the KMS key"
                .to_owned(),
        ),
        FailureKind::Passing if failure.stage.is_empty() => (
            Reason::DeliveryFailed,
            format!(
                "the last execution failed: {words}; the operator starts another one by itself up \
                 to three times; if that does not help, push, or set the annotation \
                 {RELEASE_REQUESTED_AT}"
            ),
        ),
        FailureKind::Passing => failed(format!(
            "such failures pass by themselves as a rule, and the operator starts another execution \
             up to three times; if that does not help, push, or set the annotation \
             {RELEASE_REQUESTED_AT}"
        )),
        FailureKind::Other => failed(format!(
            "fix the cause and push, or set the annotation {RELEASE_REQUESTED_AT} to start an execution"
        )),
    };
    Verdict::new(ConditionType::Delivered, reason, message)
}

fn failure_status(failure: &Failure, audience: Audience<'_>) -> FailureStatus {
    FailureStatus {
        stage: failure.stage.clone(),
        code: failure.code.clone(),
        message: cap(&arn::filter(&failure.message, audience)),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
    use proptest::prelude::*;

    use super::*;
    use crate::api::condition::Outlook;
    use crate::api::status::{AnnouncedStatus, ConnectionIntent, DeliveredStatus, PrunedStatus};
    use crate::cloud::advice::Activity;
    use crate::domain::execution::{Commit, RunningAction, Target};
    use crate::domain::refusal::Refusal;
    use crate::resource::connection::ConnectionState;
    use crate::status::deleting;
    use crate::status::notice::notices;

    fn place() -> Placement {
        Placement {
            account: "111122223333".to_owned(),
            partition: "aws".to_owned(),
            region: "eu-west-1".to_owned(),
            class: None,
            base_name: "rf-team-docs".to_owned(),
        }
    }

    fn connection(state: ConnectionState) -> ObservedConnection {
        ObservedConnection {
            arn: "arn:aws:codestar-connections:eu-west-1:111122223333:connection/c".to_owned(),
            name: "rf-team-docs".to_owned(),
            state,
            provider: "GitHub".to_owned(),
            tags: BTreeMap::new(),
        }
    }

    fn execution(id: &str, state: ExecutionState) -> Execution {
        Execution {
            id: id.to_owned(),
            state,
            trigger: None,
            commit: Some(Commit {
                id: "0123456789".to_owned(),
                message: None,
            }),
            started_at: Timestamp::UNIX_EPOCH,
            updated_at: Timestamp::UNIX_EPOCH,
        }
    }

    fn running() -> Execution {
        execution("e2", ExecutionState::parse("InProgress"))
    }

    fn delivered() -> DeliveredStatus {
        let target = Target {
            repository: "acme/docs".to_owned(),
            branch: "main".to_owned(),
            bucket: "b".to_owned(),
            prefix: "acme/docs".to_owned(),
        };
        execution("e1", ExecutionState::Succeeded).delivered(&target, "GitHub")
    }

    fn failure(message: &str) -> Failure {
        Failure {
            stage: "Source".to_owned(),
            code: None,
            message: message.to_owned(),
        }
    }

    /// Everything that a pass may observe, owned.
    #[derive(Clone, Debug)]
    struct World {
        generation: i64,
        concluded: bool,
        progress: Progress,
        connection: Option<ConnectionState>,
        drift: Option<Vec<String>>,
        executions: Option<Vec<Execution>>,
        failure: Option<Failure>,
        standstill: Option<Standstill>,
        features: Features,
        delivered: bool,
    }

    impl World {
        /// A pass that finds everything as it should be.
        fn well() -> Self {
            Self {
                generation: 1,
                concluded: true,
                progress: Progress::Settled,
                connection: Some(ConnectionState::Available),
                drift: Some(Vec::new()),
                executions: Some(vec![execution("e1", ExecutionState::Succeeded)]),
                failure: None,
                standstill: None,
                features: Features::default(),
                delivered: true,
            }
        }

        fn progress(progress: Progress) -> Self {
            Self {
                progress,
                ..Self::well()
            }
        }

        fn failed(message: &str) -> Self {
            Self {
                executions: Some(vec![execution("e2", ExecutionState::Failed)]),
                failure: Some(failure(message)),
                ..Self::well()
            }
        }

        fn after(&self, before: &RepoFanoutStatus) -> RepoFanoutStatus {
            let (place, connection) = (place(), self.connection.map(connection));
            let mut before = before.clone();
            if self.delivered {
                before.delivered = Some(delivered());
            }
            let own: Vec<String> = before.resources.values().cloned().collect();
            let observation = Observation {
                outcome: PassOutcome {
                    generation: Some(self.generation),
                    concluded: self.concluded,
                    progress: self.progress.clone(),
                },
                place: Some(&place),
                repository: "acme/docs",
                copying: Situation {
                    activity: Activity::Execution("acme/docs"),
                    place: Some(&place),
                    caller: "",
                    operator: "",
                    audience: Audience::Own(&own),
                },
                connection: connection.as_ref(),
                drift: self.drift.as_deref(),
                executions: self.executions.as_deref(),
                failure: self.failure.as_ref(),
                standstill: self.standstill.as_ref(),
                features: self.features.clone(),
            };
            status(&before, &observation)
        }

        fn status(&self) -> RepoFanoutStatus {
            self.after(&RepoFanoutStatus::default())
        }
    }

    fn waiting(reason: Reason) -> Progress {
        Progress::Waiting(reason, "later".to_owned())
    }

    fn refused(reason: Reason) -> Progress {
        Progress::Refused(vec![
            Refusal::new(reason, "one"),
            Refusal::new(Reason::InvalidSpec, "two"),
        ])
    }

    fn says(status: &RepoFanoutStatus, type_: ConditionType) -> String {
        match type_.find(&status.conditions) {
            Some(c) => format!("{}/{}", c.status, c.reason),
            None => "-".to_owned(),
        }
    }

    /// `Ready`, `Reconciling` and `Stalled`, each with its status and reason.
    fn summary(status: &RepoFanoutStatus) -> String {
        let types = [
            ConditionType::Ready,
            ConditionType::Reconciling,
            ConditionType::Stalled,
        ];
        types.map(|type_| says(status, type_)).join(" ")
    }

    fn message(status: &RepoFanoutStatus, type_: ConditionType) -> String {
        type_.find(&status.conditions).unwrap().message.clone()
    }

    #[test]
    fn each_state_has_its_summary() {
        let well = World::well();
        let pending = World {
            connection: Some(ConnectionState::Pending),
            progress: waiting(Reason::Provisioning),
            executions: None,
            delivered: false,
            ..well.clone()
        };
        let error = World {
            connection: Some(ConnectionState::Error),
            ..well.clone()
        };
        let none_yet = World {
            executions: Some(vec![running()]),
            delivered: false,
            ..well.clone()
        };
        let drifted = World {
            drift: Some(vec!["the topic's policy differs".to_owned()]),
            ..well.clone()
        };
        let runs = World {
            executions: Some(vec![running(), execution("e1", ExecutionState::Succeeded)]),
            ..well.clone()
        };
        let late = World {
            executions: Some(vec![running(), execution("e1", ExecutionState::Failed)]),
            ..well.clone()
        };
        let stuck = World {
            standstill: Some(standstills().remove(0)),
            ..runs.clone()
        };
        let exhausted = World {
            standstill: standstills().pop(),
            ..well.clone()
        };
        for (name, world, expected) in [
            (
                "a run that does not end",
                stuck,
                "Unknown/ExecutionStuck True/ExecutionStuck -",
            ),
            (
                "no more starts of our own",
                exhausted,
                "False/StartsExhausted - -",
            ),
            (
                "connection PENDING",
                pending,
                "False/ConnectionPending True/ConnectionPending -",
            ),
            (
                "connection ERROR",
                error,
                "False/ConnectionError True/ConnectionError -",
            ),
            (
                "IAM propagates",
                World::progress(waiting(Reason::IAMPropagating)),
                "False/IAMPropagating True/IAMPropagating -",
            ),
            (
                "service-linked role",
                World::progress(waiting(Reason::ServiceLinkedRoleCreating)),
                "False/ServiceLinkedRoleCreating True/ServiceLinkedRoleCreating -",
            ),
            (
                "throttled",
                World::progress(waiting(Reason::Throttled)),
                "False/Throttled True/Throttled -",
            ),
            (
                "nothing delivered yet",
                none_yet,
                "Unknown/NotYetDelivered True/NotYetDelivered -",
            ),
            (
                "a failed run is followed by another one",
                late,
                "False/DeliveryFailed - -",
            ),
            (
                "last run failed",
                World::failed("the file is too large"),
                "False/DeliveryFailed - -",
            ),
            (
                "repository out of reach",
                World::failed("the repository acme/docs was not found"),
                "False/RepositoryNotAccessible - -",
            ),
            (
                "not owned",
                World::progress(refused(Reason::NotOwned)),
                "False/NotOwned - True/NotOwned",
            ),
            (
                "class missing",
                World::progress(refused(Reason::ClassNotReady)),
                "False/ClassNotReady - True/ClassNotReady",
            ),
            ("drift under Detect", drifted, "True/Delivered - -"),
            ("all well, a run in progress", runs, "True/Delivered - -"),
            ("all well", well, "True/Delivered - -"),
        ] {
            let before = match name {
                "a failed run is followed by another one" => World::failed("x").status(),
                _ => RepoFanoutStatus::default(),
            };
            let status = world.after(&before);
            assert_eq!(summary(&status), expected, "{name}");
            assert_eq!(status.observed_generation, Some(1), "{name}");
        }
    }

    #[test]
    fn a_run_that_does_not_end_says_since_when_and_how_to_stop_it() {
        let mut said = Vec::new();
        for standstill in standstills() {
            let world = World {
                executions: Some(vec![running()]),
                standstill: Some(standstill),
                ..World::well()
            };
            said.push(message(&world.status(), ConditionType::Delivered));
        }
        assert_eq!(
            said[0],
            "execution e2 has been in its Source stage since 1970-01-01T00:00:00Z, and that stage \
             takes less than 30m as a rule; nothing else is delivered until it ends. The annotation \
             repofanout.dev/stop-requested-at stops it at once; then push, or set the annotation \
             repofanout.dev/release-requested-at"
        );
        assert!(
            said[1].contains("once what it copies has been copied"),
            "{}",
            said[1]
        );
        assert!(
            said[2].contains("another value of the annotation"),
            "{}",
            said[2]
        );
        assert!(said[3].contains("3 for this commit"), "{}", said[3]);
        assert!(said[4].contains("10 in 24 hours"), "{}", said[4]);
    }

    #[test]
    fn what_keeps_a_push_from_arriving_comes_in_the_order_of_cause_and_effect() {
        let mut world = World::failed("the file is too large");
        assert!(says(&world.status(), ConditionType::Ready).ends_with("DeliveryFailed"));
        world.progress = waiting(Reason::Throttled);
        assert!(says(&world.status(), ConditionType::Ready).ends_with("Throttled"));
        world.connection = Some(ConnectionState::Pending);
        assert!(says(&world.status(), ConditionType::Ready).ends_with("ConnectionPending"));
        world.progress = refused(Reason::NotAllowed);
        let status = world.status();
        assert!(says(&status, ConditionType::Ready).ends_with("NotAllowed"));
        assert_eq!(message(&status, ConditionType::Ready), "one; two");
        assert_eq!(message(&status, ConditionType::Stalled), "one; two");
    }

    #[test]
    fn what_was_not_observed_stays() {
        let quiet = World {
            progress: Progress::Unchanged,
            connection: None,
            drift: None,
            executions: None,
            ..World::well()
        };
        for before in [
            World::well().status(),
            World::progress(refused(Reason::NotOwned)).status(),
            World::progress(waiting(Reason::Throttled)).status(),
            World::failed("too large").status(),
        ] {
            assert_eq!(quiet.after(&before), before);
        }
        let unread = RepoFanoutStatus::default();
        let after = quiet.after(&unread);
        assert_eq!(
            summary(&after),
            "Unknown/NotYetDelivered True/NotYetDelivered -"
        );
    }

    #[test]
    fn a_generation_counts_as_observed_once_a_pass_has_come_to_a_conclusion() {
        let mut world = World {
            generation: 2,
            concluded: false,
            ..World::progress(waiting(Reason::Throttled))
        };
        let before = World::well().status();
        let status = world.after(&before);
        assert_eq!(status.observed_generation, Some(1));
        let ready = ConditionType::Ready.find(&status.conditions).unwrap();
        assert_eq!(ready.observed_generation, Some(2));
        world.concluded = true;
        assert_eq!(world.after(&before).observed_generation, Some(2));
    }

    #[test]
    fn a_feature_has_a_condition_while_it_is_asked_for() {
        let mut world = World::well();
        let deleted = FeatureOutcome::Now(Reason::Pruned, "2 files".to_owned());
        let denied = FeatureOutcome::Now(Reason::AnnounceFailed, "no".to_owned());
        world.features.prune = deleted;
        world.features.announce = denied;
        let mut before = world.status();
        assert_eq!(says(&before, ConditionType::Pruned), "True/Pruned");
        assert_eq!(
            says(&before, ConditionType::Announced),
            "False/AnnounceFailed"
        );
        assert_eq!(says(&before, ConditionType::Subscribed), "-");
        assert_eq!(says(&before, ConditionType::Ready), "True/Delivered");

        before.pruned = Some(PrunedStatus::default());
        before.announced = Some(AnnouncedStatus::default());
        world.features = Features::default();
        assert_eq!(world.after(&before), before);
        world.features.prune = FeatureOutcome::NotAsked;
        world.features.announce = FeatureOutcome::NotAsked;
        let after = world.after(&before);
        assert_eq!(says(&after, ConditionType::Pruned), "-");
        assert_eq!(says(&after, ConditionType::Announced), "-");
        assert_eq!((after.pruned, after.announced), (None, None));
    }

    #[test]
    fn a_suspended_object_stays_as_it_was_but_for_that() {
        let before = World::well().status();
        let after = suspended(&before, Some(2));
        assert_eq!(after.observed_generation, Some(2));
        assert_eq!(
            says(&after, ConditionType::Provisioned),
            "Unknown/Suspended"
        );
        assert_eq!(summary(&after), "True/Delivered - -");
        assert_eq!(suspended(&after, Some(2)), after);
        let waiting = World::progress(waiting(Reason::Throttled)).status();
        assert_eq!(
            summary(&suspended(&waiting, Some(2))),
            "False/Throttled - -"
        );
    }

    #[test]
    fn a_deletion_is_summed_up_by_what_it_waits_for() {
        for (reason, expected) in [
            (Reason::Deleting, "False/Deleting True/Deleting -"),
            (
                Reason::DeletionBlocked,
                "False/DeletionBlocked - True/DeletionBlocked",
            ),
            (Reason::InUse, "False/InUse - True/InUse"),
        ] {
            for mut before in [
                World::well().status(),
                World::progress(refused(Reason::NotOwned)).status(),
                World::progress(waiting(Reason::Throttled)).status(),
            ] {
                deleting(&mut before.conditions, Some(1), reason, "why");
                assert_eq!(summary(&before), expected);
            }
        }
    }

    #[test]
    fn a_connection_that_was_just_made_stands_with_its_link_and_with_what_it_waits_for() {
        let made = connection(ConnectionState::Pending);
        let intent = ConnectionIntent {
            id: "i".to_owned(),
            at: Timestamp::UNIX_EPOCH,
        };
        let mut fresh = RepoFanoutStatus::default();
        fresh.connection.get_or_insert_default().intent = Some(intent);
        let mut mended = World::progress(refused(Reason::NotAllowed)).status();
        mended.connection = fresh.connection.clone();
        for before in [fresh, mended] {
            let after = connection_made(&before, Some(2), &place(), &made);
            let recorded = after.connection.clone().unwrap();
            assert_eq!(
                recorded,
                connection_status(&place(), &made, Some(&recorded))
            );
            let link = recorded.authorize_url.unwrap();
            assert!(message(&after, ConditionType::Ready).contains(&link));
            assert_eq!(
                says(&after, ConditionType::ConnectionAvailable),
                "False/ConnectionPending"
            );
            assert_eq!(
                summary(&after),
                "False/ConnectionPending True/ConnectionPending -"
            );
            assert_eq!(after.resources["connection"], made.arn);
            assert_eq!(after.observed_generation, before.observed_generation);
            // The end of the pass has nothing to add.
            let end = World {
                generation: 2,
                concluded: false,
                progress: Progress::Waiting(Reason::Provisioning, AWAITS_CONNECTION.to_owned()),
                connection: Some(ConnectionState::Pending),
                drift: None,
                executions: None,
                delivered: false,
                ..World::well()
            };
            assert_eq!(end.after(&after), after);
            assert_eq!(notices(&after, &end.after(&after)), []);
        }
    }

    fn progresses() -> impl Strategy<Value = Progress> {
        let amiss = |reason: &Reason| reason.outlook() != Outlook::Well;
        let reasons: Vec<Reason> = Reason::ALL.iter().copied().filter(amiss).collect();
        let reason = proptest::sample::select(reasons);
        let text = proptest::sample::select(vec!["short".to_owned(), "ü".repeat(2000)]);
        prop_oneof![
            Just(Progress::Settled),
            Just(Progress::Unchanged),
            (reason.clone(), text).prop_map(|(r, text)| Progress::Waiting(r, text)),
            proptest::collection::vec((reason, "[a-z]{0,9}"), 1..3).prop_map(|all| {
                let refusals = all.into_iter().map(|(r, text)| Refusal::new(r, text));
                Progress::Refused(refusals.collect())
            }),
        ]
    }

    fn executions() -> impl Strategy<Value = Vec<Execution>> {
        const WORDS: [&str; 5] = ["InProgress", "Succeeded", "Failed", "Cancelled", "Stopped"];
        let state = proptest::sample::select(&WORDS[..]).prop_map(ExecutionState::parse);
        proptest::collection::vec(("e[0-9]", state), 0..4).prop_map(|all| {
            let all = all.into_iter();
            all.map(|(id, state)| execution(&id, state)).collect()
        })
    }

    fn standstills() -> Vec<Standstill> {
        let stuck = |is_source, is_stopping| {
            Standstill::Stuck(Stuck {
                execution: "e2".to_owned(),
                action: RunningAction {
                    stage: "Source".to_owned(),
                    is_source,
                    since: Timestamp::UNIX_EPOCH,
                },
                limit: Duration::from_secs(1800),
                is_stopping,
            })
        };
        vec![
            stuck(true, false),
            stuck(false, false),
            stuck(false, true),
            Standstill::Exhausted(Cause::TargetChanged, Exhausted::Commit),
            Standstill::Exhausted(Cause::Cancelled, Exhausted::Day(Timestamp::UNIX_EPOCH)),
        ]
    }

    fn failures() -> impl Strategy<Value = Failure> {
        const WORDS: [&str; 3] = ["not authorized", "repository not found", "too large"];
        proptest::sample::select(&WORDS[..]).prop_map(failure)
    }

    fn outcomes(reasons: &'static [Reason]) -> impl Strategy<Value = FeatureOutcome> {
        prop_oneof![
            Just(FeatureOutcome::Unchanged),
            Just(FeatureOutcome::NotAsked),
            proptest::sample::select(reasons)
                .prop_map(|reason| FeatureOutcome::Now(reason, "so".to_owned())),
        ]
    }

    fn features() -> impl Strategy<Value = Features> {
        (
            outcomes(&[Reason::Pruned, Reason::NothingToPrune, Reason::PruneLimited]),
            outcomes(&[Reason::Announced, Reason::AnnounceFailed]),
            outcomes(&[Reason::Subscribed, Reason::SubscriptionPending]),
        )
            .prop_map(|(prune, announce, subscribe)| Features {
                prune,
                announce,
                subscribe,
            })
    }

    prop_compose! {
        fn worlds()(
            generation in 1i64..3,
            concluded: bool,
            progress in progresses(),
            connection in proptest::option::of(proptest::sample::select(
                [ConnectionState::Pending, ConnectionState::Available, ConnectionState::Error]
                    .as_slice(),
            )),
            drift in proptest::option::of(proptest::collection::vec("[a-z]{1,9}", 0..3)),
            executions in proptest::option::of(executions()),
            failure in proptest::option::of(failures()),
            standstill in proptest::option::of(proptest::sample::select(standstills())),
            features in features(),
            delivered: bool,
        ) -> World {
            World {
                generation, concluded, progress, connection, drift, executions, failure, standstill,
                features, delivered,
            }
        }
    }

    /// Checks the properties of every status, whatever came before.
    fn check(status: &RepoFanoutStatus) -> Result<(), TestCaseError> {
        let find = |type_: ConditionType| type_.find(&status.conditions);
        let ready = find(ConditionType::Ready).expect("every status says whether it is ready");
        let (stalled, reconciling) = (
            find(ConditionType::Stalled),
            find(ConditionType::Reconciling),
        );
        prop_assert!(stalled.is_none() || reconciling.is_none(), "{status:?}");
        if ready.status == "True" {
            prop_assert!(stalled.is_none() && reconciling.is_none(), "{status:?}");
        }
        let of_kind: Vec<ConditionType> = ConditionType::of(Kind::Fanout).collect();
        for condition in &status.conditions {
            let Condition {
                type_,
                reason,
                message,
                ..
            } = condition;
            let type_ = ConditionType::parse(type_).filter(|type_| of_kind.contains(type_));
            prop_assert!(type_.is_some(), "{condition:?}");
            let reason = Reason::parse(reason).expect("a reason of the closed set");
            let expected = type_.map(|type_| type_.status(reason).as_str());
            prop_assert_eq!(expected, Some(&*condition.status));
            prop_assert!(message.chars().count() <= 1024);
        }
        Ok(())
    }

    proptest! {
        #[test]
        fn every_status_is_consistent(passes in proptest::collection::vec(worlds(), 1..5)) {
            let mut status = RepoFanoutStatus::default();
            for pass in passes {
                let next = pass.after(&status);
                check(&next)?;
                prop_assert_eq!(&pass.after(&next), &next, "the same again changes nothing");
                prop_assert_eq!(notices(&next, &next), vec![], "and is no news");
                status = next;
            }
        }
    }
}
