//! Converges AWS to a fan-out, and keeps its status in step with the writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use jiff::{SignedDuration, Timestamp};
use serde_json::Value;

use crate::api::RepoFanout;
use crate::api::condition::Reason;
use crate::api::status::RepoFanoutStatus;
use crate::cloud::Error;
use crate::domain::execution::{Execution, Stuck};
use crate::domain::kind::Resource;
use crate::reconcile::conclude::echo_requests;
use crate::reconcile::converge::{Ledger, converge, intent, publish_gone, surely_not_made};
use crate::reconcile::fanout::observation::{Depth, Observation, Quick};
use crate::reconcile::record::{Resources, left, recorded};
use crate::reconcile::schedule::Schedule;
use crate::resource::Desired;
use crate::resource::Observed;
use crate::resource::connection::ObservedConnection;
use crate::resource::plan::{Facts, Plan, Step};
use crate::state::environment::Environment;
use crate::state::live_object::LiveObject;
use crate::state::memory::SettledPipeline;
use crate::state::recorder::Notice;
use crate::state::stop::{Partial, Stop};
use crate::state::target::Target;
use crate::status;

/// State of AWS after the differences were written.
#[derive(Debug, Default)]
pub struct Converged {
    /// The connection in use.
    pub connection: Option<ObservedConnection>,
    /// Executions, newest first, if they were read.
    pub executions: Option<Vec<Execution>>,
    /// The execution that runs for longer than its stage may take.
    pub stuck: Option<Stuck>,
    /// The pipeline that the next quick observation compares with.
    pub pipeline: Option<SettledPipeline>,
    /// Details of a quick observation, or `None` if everything was observed.
    pub quick: Option<Box<Quick>>,
    /// ARNs of the resources in use, if everything was observed.
    pub resources: Option<BTreeMap<String, String>>,
    /// Recorded resources that are not desired any more.
    pub orphaned: BTreeMap<String, String>,
    /// ARN of the topic in use.
    pub topic: Option<String>,
    /// Readers whom AWS does not know.
    pub unknown: BTreeSet<String>,
    /// Drift that is only reported, or `None` if it was not observed.
    pub drift: Option<Vec<String>>,
    /// What is still outstanding although nothing failed.
    pub pending: Option<(Reason, String)>,
    /// A message if AWS could not send the last notification.
    pub unreachable: Option<String>,
    /// Whether this generation was applied, as far as an unauthorized connection allows.
    pub applied: bool,
    /// Whether this pass recorded the object's placement for the first time.
    pub placed: bool,
    /// When to observe again.
    pub schedule: Schedule,
}

impl Converged {
    /// Returns whether everything was observed.
    pub fn is_full(&self) -> bool {
        self.quick.is_none()
    }

    /// Returns whether there is drift that is only reported, and hence not acted on.
    fn drifted(&self) -> bool {
        self.drift.as_ref().is_some_and(|drift| !drift.is_empty())
    }
}

/// Writes the differences, if everything was observed.
pub async fn run(
    env: &Environment,
    live: &mut LiveObject<'_, RepoFanout>,
    target: &Target,
    observation: Observation,
) -> Result<Converged, Partial<Converged>> {
    let Observation {
        connection,
        executions,
        stuck,
        depth,
    } = observation;
    let converged = Converged {
        connection,
        executions,
        stuck,
        ..Converged::default()
    };
    match depth {
        Depth::Quick(mut quick) => {
            let mut schedule = Schedule::default();
            quick
                .replan_in
                .into_iter()
                .for_each(|wait| schedule.within(wait));
            let pipeline = quick.pipeline.take();
            Ok(Converged {
                pipeline,
                quick: Some(quick),
                schedule,
                ..converged
            })
        }
        Depth::Full(mut observed) => {
            let mut ledger = FanoutLedger {
                env,
                live,
                target,
                converged,
                young: None,
                wrote: false,
                announced: BTreeSet::new(),
            };
            match ledger.run(&mut observed).await {
                Ok(()) => Ok(ledger.converged),
                Err(stop) => Err(Partial {
                    found: ledger.converged,
                    stop,
                }),
            }
        }
    }
}

struct FanoutLedger<'a, 'b> {
    env: &'a Environment,
    live: &'a mut LiveObject<'b, RepoFanout>,
    target: &'a Target,
    converged: Converged,
    /// The recorded resources, while they are so young that AWS may not show them yet.
    young: Option<Resources>,
    /// Whether anything was written to AWS.
    wrote: bool,
    /// Notes of corrections and adoptions that were already published.
    announced: BTreeSet<String>,
}

impl FanoutLedger<'_, '_> {
    async fn run(&mut self, observed: &mut Observed) -> Result<(), Stop> {
        let target = self.target;
        let status = self.live.status();
        let pipelines = &target.cloud.pipelines;
        let spec_changed = status.applied_generation != self.live.current.metadata.generation;
        let class = target.class.map(|key| key.generation);
        let changed = spec_changed || status.applied_class_generation != class;
        let executions = self.converged.executions.as_deref().unwrap_or_default();
        let is_running = executions.iter().any(|e| e.state.is_running());
        let topics = topics(&status);
        let is_young = self.env.pace.is_young(status.last_created_at, target.now);
        self.young = is_young.then(|| {
            let mut young = status.resources.clone();
            // Readers are statements of a policy: to write them again does no harm.
            young.remove(Resource::Readers.as_str());
            young
        });
        let young = self.young.clone();
        let facts = Facts {
            owner: &target.fanout.owner,
            place: &target.place,
            // A run that does not end holds nothing up.
            hold_pipeline: is_running && !spec_changed && self.converged.stuck.is_none(),
            former_topics: &topics,
            adopt: &target.fanout.adopt,
            settled: (!changed).then_some(&status.resources),
            detect: target.fanout.detect_drift,
            read_only: self.env.settings().read_only,
            young: young.as_ref(),
            unrecorded: status.applied_generation.is_none(),
        };
        let existed = observed.pipeline.is_some();
        let desire = |arn: Option<&str>| target.desire(arn);
        converge(&target.cloud, desire, observed, facts, target.now, self).await?;
        self.converged.applied = self.converged.pending.is_none();
        if changed && self.converged.applied {
            self.publish_key_statements().await;
        }
        if self.wrote && observed.pipeline.is_some() && (existed || target.feed.is_none()) {
            // The writes may have started or cancelled an execution. With a feed, an event reports
            // the first execution of a new pipeline.
            self.converged.executions = Some(pipelines.executions(target.pipeline()).await?);
        }
        if observed.pipeline.is_none() && !self.converged.drifted() {
            let message = status::AWAITS_CONNECTION.to_owned();
            self.converged.pending = Some((Reason::Provisioning, message));
        }
        let connection = observed.connection.as_ref().map(|found| &*found.arn);
        if let Some(message) = unreachable(&target.desire(connection), observed) {
            // A notification follows the end of its execution by a moment.
            let executions = self.converged.executions.as_deref().unwrap_or_default();
            let recent = |e: &Execution| e.updated_at + NOTIFIED > target.now;
            if executions.first().is_some_and(recent) {
                self.converged.schedule.fully_within(self.env.pace.idle);
            }
            self.converged.unreachable = Some(message);
        }
        self.converged.pipeline = settled_pipeline(target, observed, self.converged.drifted());
        Ok(())
    }

    /// Says what the policy of a class's key needs: whoever is let into a bucket that it encrypts
    /// reads nothing without that.
    async fn publish_key_statements(&self) {
        let desired = self.target.desire(None);
        let Some(readers) = desired.readers.own() else {
            return;
        };
        let statements = readers.decrypt(&self.target.place.partition);
        let statements: Vec<String> = statements.iter().map(Value::to_string).collect();
        if let Some(key) = readers.kms_key.as_ref().filter(|_| !statements.is_empty()) {
            let statements = statements.join(", ");
            let note = format!("for its readers the policy of {key} needs {statements}");
            self.live
                .notify(Notice::normal("ReadersNeedKey", note))
                .await;
        }
    }

    /// Records the resources in use and the orphaned ones.
    fn record(&mut self, desired: &Desired, observed: &Observed) {
        let partition = if self.target.placed {
            &*self.target.place.partition
        } else {
            "aws"
        };
        let used = recorded(desired, observed, partition, self.young.as_ref());
        self.converged.orphaned = left(&self.live.status().resources, &used, desired, partition);
        self.converged.resources = Some(used);
        let missing = desired.topic.arn().is_some() && observed.topic.is_none();
        let topic = desired.topic_arn().filter(|_| !missing);
        self.converged.topic = topic.map(str::to_owned);
    }
}

impl Ledger for FanoutLedger<'_, '_> {
    async fn planned(&mut self, plan: &Plan, desired: &Desired, observed: &Observed) {
        self.record(desired, observed);
        self.converged.unknown.clone_from(&observed.unknown_readers);
        if !plan.refusals.is_empty() {
            return;
        }
        if plan.held {
            let message = "the pipeline is corrected once its running execution has ended";
            self.converged.schedule.fully_within(self.env.pace.close);
            self.converged.pending = Some((Reason::Provisioning, message.to_owned()));
        }
        let detect = self.target.fanout.detect_drift;
        self.converged.drift = Some(if detect {
            plan.drift.clone()
        } else {
            Vec::new()
        });
        let corrects = |_: &&String| !detect && !plan.held;
        let corrected = plan
            .drift
            .iter()
            .filter(corrects)
            .map(|note| ("DriftCorrected", note));
        let adopted = plan.adopted.iter().map(|note| ("Adopted", note));
        for (reason, note) in corrected.chain(adopted) {
            if self.announced.insert(note.clone()) {
                self.live
                    .notify(Notice::warning(reason, note.clone()))
                    .await;
            }
        }
    }

    async fn write_ahead(&mut self, steps: &[Step]) -> Result<String, Stop> {
        self.wrote = true;
        let mut next = self.live.status();
        self.converged.placed |= next.placement.is_none();
        if self.target.placed {
            next.placement = Some(self.target.place.status());
        }
        echo_requests(self.live, &mut next, false, false);
        let given = next.connection.as_ref().and_then(|c| c.intent.as_ref());
        let (pace, now) = (self.env.pace, self.target.now);
        let intent = intent(steps, given, &self.live.uid(), pace, now)?;
        if let Some(intent) = &intent {
            next.connection.get_or_insert_default().intent = Some(intent.clone());
        }
        if steps.iter().any(|s| s.resource() == Resource::Role) {
            next.permissions_written_at = Some(now);
        }
        if steps.iter().any(Step::creates) {
            next.last_created_at = Some(Timestamp::now());
        }
        self.live.confirm_status(next).await?;
        Ok(intent.map(|i| i.id).unwrap_or_default())
    }

    /// Records the connection's ARN at once. The intent is withdrawn if AWS certainly created
    /// nothing, also where an earlier step failed.
    async fn wrote(
        &mut self,
        step: &Step,
        result: &Result<(), Error>,
        desired: &Desired,
        observed: &Observed,
    ) -> Result<(), Stop> {
        self.record(desired, observed);
        publish_gone(self.live, observed, &mut self.announced).await;
        self.converged.connection.clone_from(&observed.connection);
        let creates = step.resource() == Resource::Connection && step.creates();
        let mut next = self.live.status();
        match (result, &observed.connection) {
            (Ok(()), Some(made)) if creates => {
                let generation = self.live.current.metadata.generation;
                next = status::connection_made(&next, generation, &self.target.place, made);
            }
            (Err(e), None) if !creates || surely_not_made(e) => {
                if let Some(connection) = &mut next.connection {
                    connection.intent = None;
                }
            }
            _ => return Ok(()),
        }
        Ok(self.live.set_status(next).await?)
    }
}

/// Returns the topics that the notification rule targeted so far. Their targets are removed when
/// the topic changes.
fn topics(status: &RepoFanoutStatus) -> Vec<String> {
    let former = status
        .former
        .iter()
        .filter_map(|f| f.resources.get(Resource::Topic.as_str()));
    former.chain(&status.topic_arn).cloned().collect()
}

/// Time within which AWS has sent the notification of an execution that ended.
const NOTIFIED: SignedDuration = SignedDuration::from_mins(2);

/// Returns a message if AWS could not send the last notification. The policy of a topic of our own
/// was just observed to be right, so that only a key or a topic of others can be the cause.
fn unreachable(desired: &Desired, observed: &Observed) -> Option<String> {
    let configured = desired
        .topic
        .own()
        .is_some_and(|topic| topic.kms_key.is_none());
    let rule = desired.notification_rule.own()?;
    let found = observed.notification_rule.as_ref()?;
    (!configured && rule.is_unreachable(found)).then(|| {
        format!(
            "AWS could not send the last notification to {} (UNREACHABLE), so nobody knows whether \
                 the next one arrives: its policy has to let codestar-notifications.amazonaws.com \
                 publish, and the policy of a customer key that encrypts it has to let the same \
                 service use kms:GenerateDataKey* and kms:Decrypt; the next execution shows whether \
                 it does",
            rule.topic_arn
        )
    })
}

/// Returns the pipeline that quick observations compare with from now on.
fn settled_pipeline(
    target: &Target,
    observed: &Observed,
    drifted: bool,
) -> Option<SettledPipeline> {
    let pipeline = observed.pipeline.as_ref()?;
    let mut events = target.fanout.notifications.events.iter();
    let announces = events.any(|e| e.ends_with("pipeline-execution-succeeded"));
    let rule = observed.notification_rule.as_ref().filter(|_| announces);
    Some(SettledPipeline {
        target: pipeline.declaration.target().or_else(|| target.copy())?,
        version: pipeline.version,
        updated_at: pipeline.updated_at,
        announced_since: rule.map(|rule| rule.created_at),
        estimated: rule
            .filter(|rule| rule.estimated)
            .map(|rule| rule.arn.clone()),
        bucket_created_at: observed.destination.created_at(),
        drifted,
        read_at: Some((Instant::now(), target.feed)),
    })
}
