//! Stands in for the AWS services that nobody else offers (CodePipeline with an
//! engine that moves real files, codestar-connections, codestar-notifications), in
//! front of other people's software for the rest.
//!
//! One endpoint serves all: requests for the three services are answered here, after
//! botocore's models have judged them; all others go on to `upstream`. Every call is
//! counted, and any call can be made to fail.

mod connections;
pub mod enforce;
mod engine;
mod events;
pub mod fault;
mod front;
mod iam;
mod judge;
mod late;
mod notifications;
mod pipelines;
mod principals;
mod reply;
mod roles;
mod rules;
mod state;
mod sts;
mod triggers;
mod upstream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

pub use fault::{Effect, Fault, When};
pub use front::Call;
use serde_json::Value;
pub use state::Claims;
use state::World;

/// What the stand-in needs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The address that it listens on.
    pub host: std::net::Ipv4Addr,
    /// `host:port` of the software that answers for all other services.
    pub upstream: String,
    /// Folder that holds botocore's `data`.
    pub models: PathBuf,
    /// Folder of bare git repositories, `owner/name.git`.
    pub repositories: PathBuf,
}

/// The running stand-in.
#[derive(Clone)]
pub struct Aws {
    /// Where it listens.
    pub address: SocketAddr,
    world: Arc<World>,
    runtime: tokio::runtime::Handle,
}

/// A connection, as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenConnection {
    /// Its ARN.
    pub arn: String,
    /// Its name.
    pub name: String,
    /// ARN of its host.
    pub host: Option<String>,
    /// Its status.
    pub status: String,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

/// A notification rule, as a test sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SeenRule {
    /// Its ARN.
    pub arn: String,
    /// The pipeline that it watches.
    pub resource: String,
    /// Its event type ids.
    pub events: Vec<String>,
    /// Addresses of its targets.
    pub targets: Vec<String>,
}

impl Aws {
    /// Starts it on a free port of 127.0.0.1, for as long as the runtime lives.
    ///
    /// # Errors
    /// The port cannot be had, or the models cannot be read.
    pub async fn start(config: Config) -> Result<Self, String> {
        let judge = judge::Judge::load(&config.models)?;
        let world = Arc::new(World::new(config, judge));
        let address = front::listen(Arc::clone(&world)).await?;
        Ok(Self {
            address,
            world,
            runtime: tokio::runtime::Handle::current(),
        })
    }

    /// Does what a person does in the AWS console: authorizes a PENDING connection.
    ///
    /// # Errors
    /// There is no such connection.
    pub fn authorize(&self, arn: &str) -> Result<(), String> {
        self.set_connection(arn, "AVAILABLE")
    }

    /// Puts a connection into a status, such as `ERROR`.
    ///
    /// # Errors
    /// There is no such connection.
    pub fn set_connection(&self, arn: &str, status: &str) -> Result<(), String> {
        self.world.set_connection(arn, status)
    }

    /// Shares another account's connection with this one, as AWS Resource Access Manager does.
    pub fn share_connection(&self, arn: &str, account: &str) {
        self.world.with_account(account, |a| {
            a.shared_connections.insert(arn.to_owned());
        });
    }

    /// Takes the repository from the provider's app, or gives it back.
    pub fn grant(&self, account: &str, repository: &str, granted: bool) {
        self.world.with_account(account, |a| {
            if granted {
                a.withheld.remove(repository);
            } else {
                a.withheld.insert(repository.to_owned());
            }
        });
    }

    /// Tells that somebody pushed to a branch: what the provider's app does.
    pub fn pushed(&self, repository: &str, branch: &str) {
        engine::pushed(&self.world, repository, branch, "UPDATED");
    }

    /// Holds executions of the account before each stage, or lets them go on.
    pub fn hold_executions(&self, account: &str, held: bool) {
        self.world.with_account(account, |a| {
            a.held.send_replace(held);
        });
    }

    /// Turns the behaviours of the account that nobody has verified.
    pub fn claim(&self, account: &str, claims: Claims) {
        self.world.with_account(account, |a| a.claims = claims);
    }

    /// From now on CreateNotificationRule fails so many times for want of the service-linked role.
    pub fn delay_service_linked_role(&self, account: &str, refusals: u32) {
        self.world
            .with_account(account, |a| a.rule_refusals = refusals);
    }

    /// From now on CodePipeline cannot assume roles of the account so many times.
    pub fn delay_iam(&self, account: &str, refusals: u32) {
        self.world
            .with_account(account, |a| a.assume_refusals = refusals);
    }

    /// From now on each operation whose name begins so takes so many calls a second, as AWS does;
    /// all others take any number.
    pub fn throttle(&self, account: &str, rates: &[(&str, u32)]) {
        let rates = rates
            .iter()
            .map(|(name, rate)| ((*name).to_owned(), *rate))
            .collect();
        self.world.with_account(account, |a| a.rates = rates);
    }

    /// From now on each call of the account takes at least so long.
    pub fn slow_down(&self, account: &str, latency: std::time::Duration) {
        self.world.with_account(account, |a| a.latency = latency);
    }

    /// From now on reads and lists of the account do not show what was made until so long after.
    pub fn show_late(&self, account: &str, after: std::time::Duration) {
        self.world.with_account(account, |a| a.shown_after = after);
    }

    /// From now on each stage of the account's executions takes so long, and moves no files: for
    /// thousands of them.
    pub fn imagine_executions(&self, account: &str, stage: std::time::Duration) {
        self.world
            .with_account(account, |a| a.imagined = Some(stage));
    }

    /// From now on actions of this stage do not end; of no stage if there is none.
    pub fn hang(&self, account: &str, stage: Option<&str>) {
        self.world.with_account(account, |a| {
            a.hung.send_replace(stage.map(str::to_owned));
        });
    }

    /// From now on so many source actions fail by the provider's own fault.
    pub fn hiccup(&self, account: &str, failures: u32) {
        self.world.with_account(account, |a| a.hiccups = failures);
    }

    /// From now on execution events of the account are held back, or sent.
    pub fn hold_events(&self, account: &str, held: bool) {
        self.world
            .with_account(account, |a| a.held_events = held.then(Vec::new));
    }

    /// The execution events that are held back, oldest first.
    pub fn held_events(&self, account: &str) -> Vec<Value> {
        self.world
            .with_account(account, |a| a.held_events.clone().unwrap_or_default())
    }

    /// Sends an execution event, be it an old one, to whoever listens now.
    pub async fn send_event(&self, event: &Value) {
        let text = |key: &str| event[key].as_str().unwrap_or_default().to_owned();
        let caller = front::Caller {
            account: text("account"),
            region: text("region"),
            service: String::new(),
        };
        let (world, event) = (Arc::clone(&self.world), event.clone());
        self.on_runtime(async move { events::send(&world, &caller, &event).await })
            .await;
    }

    /// From now on sessions of roles of the account last so long.
    pub fn shorten_sessions(&self, account: &str, lasts: std::time::Duration) {
        self.world.with_account(account, |a| a.session = lasts);
    }

    /// From now on the account's caller may do what these managed policies allow, and nothing else;
    /// root again if there are none.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_iam-quotas.html>
    ///
    /// # Panics
    /// IAM takes no policy of that size, or not so many on one role.
    pub fn enforce(&self, account: &str, policies: Vec<Value>) {
        for policy in &policies {
            let characters = policy.to_string().chars().count();
            assert!(
                characters <= 6_144,
                "LimitExceeded: {characters} characters"
            );
        }
        assert!(
            policies.len() <= 10,
            "LimitExceeded: {} policies",
            policies.len()
        );
        self.world.with_account(account, |a| a.policies = policies);
    }

    /// Does something to the account behind the operator's back: says from which size on objects of
    /// a bucket change their storage class.
    pub fn set_minimum_object_size(&self, account: &str, bucket: &str, size: &str) {
        self.world.with_account(account, |a| {
            a.minimum_sizes.insert(bucket.to_owned(), size.to_owned())
        });
    }

    /// From which size on objects of a bucket change their storage class.
    pub fn minimum_object_size(&self, account: &str, bucket: &str) -> String {
        self.world
            .with_account(account, |a| rules::minimum_size(a, bucket))
    }

    /// From now on these policies limit the account's caller beside its own: each allows a call, or
    /// it is refused. They come with their type in AWS's words, such as `service control policy`.
    /// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_policies_evaluation-logic.html>
    pub fn limit(&self, account: &str, limits: &[(&str, Value)]) {
        let limits = limits
            .iter()
            .map(|(type_, policy)| ((*type_).to_owned(), policy.clone()))
            .collect();
        self.world.with_account(account, |a| a.limits = limits);
    }

    /// Turns a region off in the account, or on again.
    /// <https://docs.aws.amazon.com/accounts/latest/reference/manage-acct-regions.html>
    pub fn turn_region(&self, account: &str, region: &str, on: bool) {
        self.world.with_account(account, |a| {
            if on {
                a.regions_off.remove(region);
            } else {
                a.regions_off.insert(region.to_owned());
            }
        });
    }

    /// From now on CreateBucket takes no tags in the account, as in some partitions.
    pub fn refuse_bucket_tags(&self, account: &str) {
        self.world.with_account(account, |a| a.bucket_tags = false);
    }

    /// Somebody deletes a role or user: policies show its id in its place from now on, and AWS takes
    /// none that names it. Tells the id.
    pub fn delete_principal(&self, arn: &str) -> String {
        self.world.principals.delete(arn)
    }

    /// Somebody makes a role or user, which AWS knows once it has refused so many policies.
    pub fn create_principal(&self, arn: &str, refusals: u32) {
        self.world.principals.create(arn, refusals);
    }

    /// Adds a fault.
    pub fn fault(&self, fault: Fault) {
        self.world.faults.add(fault);
    }

    /// Takes all faults of an account away.
    pub fn clear_faults(&self, account: &str) {
        self.world.faults.clear(account);
    }

    /// The calls of an account so far.
    pub fn calls(&self, account: &str) -> Vec<Call> {
        self.world
            .calls
            .lock()
            .expect("no panic while held")
            .iter()
            .filter(|c| c.account == account)
            .cloned()
            .collect()
    }

    /// What the models found wrong with requests of the account so far.
    pub fn violations(&self, account: &str) -> Vec<String> {
        self.world.with_account(account, |a| a.violations.clone())
    }

    /// The account's connections.
    pub fn connections(&self, account: &str) -> Vec<SeenConnection> {
        self.world.with_account(account, |a| {
            let all = a.connections.iter().map(|(arn, c)| SeenConnection {
                arn: arn.clone(),
                name: c.name.clone(),
                host: c.host.clone(),
                status: c.status.clone(),
                tags: c.tags.clone(),
            });
            all.collect()
        })
    }

    /// The account's notification rules.
    pub fn rules(&self, account: &str) -> Vec<SeenRule> {
        self.world.with_account(account, |a| {
            let all = a.rules.iter().map(|(arn, r)| SeenRule {
                arn: arn.clone(),
                resource: r.resource.clone(),
                events: r.events.clone(),
                targets: r
                    .targets
                    .iter()
                    .map(|(_, address, _)| address.clone())
                    .collect(),
            });
            all.collect()
        })
    }

    /// The structures of the account's pipelines, newest version of each, by name.
    pub fn pipelines(&self, account: &str) -> BTreeMap<String, Value> {
        self.world.with_account(account, |a| {
            let all = a.pipelines.iter().map(|((_, name), p)| {
                (name.clone(), p.versions.last().expect("a version").clone())
            });
            all.collect()
        })
    }

    /// Status and trigger of the executions of a pipeline, oldest first.
    pub fn executions(&self, account: &str, pipeline: &str) -> Vec<(String, String)> {
        self.world.with_account(account, |a| {
            let found = a.pipelines.iter().find(|((_, name), _)| name == pipeline);
            let all = found.into_iter().flat_map(|(_, p)| &p.executions);
            all.map(|e| (e.status.clone(), e.trigger.clone())).collect()
        })
    }

    /// Ids of the executions with this trigger that have succeeded, and when they did.
    pub fn ended(&self, account: &str, trigger: &str) -> Vec<(String, std::time::SystemTime)> {
        self.world.with_account(account, |a| {
            let all = a.pipelines.values().flat_map(|p| &p.executions);
            let ended = all.filter(|e| e.trigger == trigger && e.status == "Succeeded");
            ended
                .map(|e| {
                    (
                        e.id.clone(),
                        std::time::UNIX_EPOCH + std::time::Duration::from_secs_f64(e.updated),
                    )
                })
                .collect()
        })
    }

    /// Does something to the account behind the operator's back: to a pipeline's structure.
    pub fn edit_pipeline(&self, account: &str, pipeline: &str, edit: impl FnOnce(&mut Value)) {
        self.world.with_account(account, |a| {
            if let Some((_, p)) = a
                .pipelines
                .iter_mut()
                .find(|((_, name), _)| name == pipeline)
            {
                let mut structure = p.versions.last().expect("a version").clone();
                edit(&mut structure);
                p.versions.push(structure);
                p.updated = state::now();
            }
        });
    }

    /// Makes a connection beside another one, alike but for its ARN and status: what a
    /// lost answer leaves behind. Tells its ARN.
    pub fn duplicate_connection(&self, account: &str, arn: &str, status: &str) -> Option<String> {
        self.world.with_account(account, |a| {
            let like = a.connections.get(arn)?;
            let copy = state::Connection {
                name: like.name.clone(),
                provider: like.provider.clone(),
                host: like.host.clone(),
                status: status.to_owned(),
                tags: like.tags.clone(),
            };
            let (start, _) = arn.rsplit_once('/')?;
            let copied = format!("{start}/{}", uuid::Uuid::new_v4());
            a.connections.insert(copied.clone(), copy);
            Some(copied)
        })
    }

    /// Deletes a notification rule behind the operator's back.
    pub fn delete_rule(&self, account: &str, arn: &str) {
        self.world.with_account(account, |a| a.rules.remove(arn));
    }

    /// Calls a service of the query protocol (IAM, SNS, SQS) as the account, uncounted.
    ///
    /// # Errors
    /// The service did not answer with 200; its answer.
    pub async fn form(
        &self,
        account: &str,
        region: &str,
        service: &str,
        fields: &[(&str, &str)],
    ) -> Result<String, String> {
        let world = Arc::clone(&self.world);
        let caller = front::Caller {
            account: account.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        };
        let fields: Vec<(String, String)> = fields
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        self.on_runtime(async move {
            let fields: Vec<(&str, &str)> = fields.iter().map(|(k, v)| (&**k, &**v)).collect();
            let (status, body) = world
                .upstream
                .form(&caller, &caller.service, &fields)
                .await
                .map_err(|e| e.to_string())?;
            world.forget_routes(&caller);
            let body = String::from_utf8_lossy(&body).into_owned();
            if status == 200 { Ok(body) } else { Err(body) }
        })
        .await
    }

    /// Calls a service of the JSON protocol (EventBridge) as the account, uncounted: its answer,
    /// also of an error. What that changes of who gets events counts from then on.
    pub async fn json(
        &self,
        account: &str,
        region: &str,
        service: &str,
        target: &str,
        input: &Value,
    ) -> Value {
        let caller = front::Caller {
            account: account.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        };
        let (world, target, input) = (Arc::clone(&self.world), target.to_owned(), input.clone());
        self.on_runtime(async move {
            let answer = world
                .upstream
                .call(&caller, &target, &input)
                .await
                .unwrap_or(Value::Null);
            world.forget_routes(&caller);
            answer
        })
        .await
    }

    /// Calls a service of the stand-in's own (CodePipeline and the developer tools) as the account,
    /// uncounted; the service-linked role of notifications is made, as the console does.
    ///
    /// # Errors
    /// It refused; its words.
    pub async fn ask(
        &self,
        account: &str,
        region: &str,
        service: &str,
        operation: &str,
        input: &Value,
    ) -> Result<Value, String> {
        let caller = front::Caller {
            account: account.to_owned(),
            region: region.to_owned(),
            service: service.to_owned(),
        };
        let (world, operation, body) = (
            Arc::clone(&self.world),
            operation.to_owned(),
            input.to_string(),
        );
        world.with_account(account, |a| {
            a.service_linked_role |= service == "codestar-notifications"
        });
        self.on_runtime(async move {
            let service = caller.service.clone();
            let reply = front::local(&world, &caller, &service, &operation, &body.into()).await;
            reply.map_err(|failure| failure.message)
        })
        .await
    }

    /// Calls S3 as the account, uncounted: method, path with query, body.
    ///
    /// # Errors
    /// S3 did not answer with a success; its answer.
    pub async fn s3(
        &self,
        account: &str,
        region: &str,
        method: &str,
        path: &str,
        body: &str,
    ) -> Result<String, String> {
        let world = Arc::clone(&self.world);
        let caller = front::Caller {
            account: account.to_owned(),
            region: region.to_owned(),
            service: "s3".to_owned(),
        };
        let (method, path, body) = (
            method.parse().map_err(|_| "no method")?,
            path.to_owned(),
            body.to_owned(),
        );
        self.on_runtime(async move {
            let sent = world
                .upstream
                .send(&caller, "s3", method, &path, body.into())
                .await;
            let (status, body) = sent.map_err(|e| e.to_string())?;
            let body = String::from_utf8_lossy(&body).into_owned();
            if (200..300).contains(&status) {
                Ok(body)
            } else {
                Err(format!("HTTP status {status}: {body}"))
            }
        })
        .await
    }

    /// Does what a consumer does: makes a queue, subscribes it to the topic; tells its URL.
    ///
    /// # Errors
    /// SQS or SNS refused.
    pub async fn subscribe_queue(
        &self,
        account: &str,
        region: &str,
        topic: &str,
        name: &str,
    ) -> Result<String, String> {
        let version = ("Version", "2012-11-05");
        let created = self
            .form(
                account,
                region,
                "sqs",
                &[("Action", "CreateQueue"), version, ("QueueName", name)],
            )
            .await?;
        let queue =
            upstream::element(created.as_bytes(), "QueueUrl").ok_or("CreateQueue tells no URL")?;
        let arn = format!("arn:aws:sqs:{region}:{account}:{name}");
        let fields = [
            ("Action", "Subscribe"),
            ("Version", "2010-03-31"),
            ("TopicArn", topic),
            ("Protocol", "sqs"),
            ("Endpoint", arn.as_str()),
        ];
        self.form(account, region, "sns", &fields).await?;
        Ok(queue)
    }

    /// Takes what is in a queue: the bodies of the messages.
    ///
    /// # Errors
    /// SQS refused.
    pub async fn receive(
        &self,
        account: &str,
        region: &str,
        queue: &str,
    ) -> Result<Vec<String>, String> {
        let fields = [
            ("Action", "ReceiveMessage"),
            ("Version", "2012-11-05"),
            ("QueueUrl", queue),
            ("MaxNumberOfMessages", "10"),
        ];
        let answer = self.form(account, region, "sqs", &fields).await?;
        let bodies = upstream::elements(answer.as_bytes(), "Body");
        for receipt in upstream::elements(answer.as_bytes(), "ReceiptHandle") {
            let delete = [
                ("Action", "DeleteMessage"),
                ("Version", "2012-11-05"),
                ("QueueUrl", queue),
                ("ReceiptHandle", &receipt),
            ];
            self.form(account, region, "sqs", &delete).await?;
        }
        Ok(bodies)
    }

    /// How many calls a second these endpoints bear, over HTTP and from so many callers at once as
    /// an operator makes them: each asks `calls` times what the pipeline ran.
    ///
    /// # Errors
    /// A call was not answered.
    pub async fn bears(
        &self,
        account: &str,
        region: &str,
        pipeline: &str,
        callers: u32,
        calls: u32,
    ) -> Result<f64, String> {
        let client = Arc::new(upstream::Upstream::new(&self.address.to_string()));
        let mut asking = tokio::task::JoinSet::new();
        let begun = std::time::Instant::now();
        for _ in 0..callers {
            let caller = front::Caller {
                account: account.to_owned(),
                region: region.to_owned(),
                service: "codepipeline".to_owned(),
            };
            let input = serde_json::json!({"pipelineName": pipeline, "maxResults": 10});
            let client = Arc::clone(&client);
            asking.spawn(async move {
                for _ in 0..calls {
                    let target = "CodePipeline_20150709.ListPipelineExecutions";
                    let answer = client
                        .call(&caller, target, &input)
                        .await
                        .map_err(|e| e.to_string())?;
                    if answer["pipelineExecutionSummaries"].is_null() {
                        return Err(format!("ListPipelineExecutions: {answer}"));
                    }
                }
                Ok::<_, String>(())
            });
        }
        while let Some(asked) = asking.join_next().await {
            asked.map_err(|e| e.to_string())??;
        }
        Ok(f64::from(callers * calls) / begun.elapsed().as_secs_f64())
    }

    /// Connections of the HTTP client belong to the runtime that opened them.
    async fn on_runtime<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> T {
        self.runtime
            .spawn(work)
            .await
            .expect("the work does not panic")
    }
}
