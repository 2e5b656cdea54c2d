//! Runs executions: clones a real repository, moves real files, asks real policies.

use std::collections::HashMap;
use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use serde_json::{Value, json};

use crate::events;
use crate::front::Caller;
use crate::iam;
use crate::notifications;
use crate::pipelines::{arn, assumable, missing};
use crate::reply::{Failure, Reply, text};
use crate::state::{ActionRun, Execution, Pipeline, World, now};
use crate::triggers::{Event, starts};

/// How many executions of a pipeline may wait.
const QUEUE: usize = 50;

/// A failed action: code and words.
type Refused = (String, String);

/// Starts an execution, or lets it wait behind the one that runs.
pub fn start(
    world: &Arc<World>,
    caller: &Caller,
    name: &str,
    trigger: &str,
    reference: Option<&str>,
) -> Option<String> {
    let id = uuid::Uuid::new_v4().to_string();
    let started = with_pipeline(world, caller, name, |pipeline| {
        let version = pipeline.versions.len();
        let supersedes = pipeline.versions[version - 1]["executionMode"]
            .as_str()
            .unwrap_or("SUPERSEDED")
            == "SUPERSEDED";
        for waiting in pipeline
            .executions
            .iter_mut()
            .filter(|e| supersedes && e.status == "InProgress" && !e.active)
        {
            waiting.status = "Superseded".to_owned();
            waiting.updated = now();
        }
        // At most 50 wait; more fail without a message.
        // <https://docs.aws.amazon.com/codepipeline/latest/userguide/limits.html>
        let waiting = pipeline
            .executions
            .iter()
            .filter(|e| e.status == "InProgress" && !e.active);
        let status = match waiting.count() {
            0..QUEUE => "InProgress",
            _ => "Failed",
        };
        pipeline.executions.push(Execution {
            id: id.clone(),
            version,
            status: status.to_owned(),
            summary: None,
            trigger: trigger.to_owned(),
            reference: reference.map(str::to_owned),
            started: now(),
            updated: now(),
            revision: None,
            active: false,
            ending: None,
            actions: Vec::new(),
        });
    });
    started?;
    next(world, caller, name);
    Some(id)
}

/// Stops an execution: at once if its action is abandoned, else once that has ended.
/// <https://docs.aws.amazon.com/codepipeline/latest/APIReference/API_StopPipelineExecution.html>
pub fn stop(world: &Arc<World>, caller: &Caller, input: &Value) -> Reply {
    let (name, id) = (
        text(input, "pipelineName"),
        text(input, "pipelineExecutionId"),
    );
    let abandon = input["abandon"] == true;
    let words = input["reason"].as_str().unwrap_or("Stopped");
    let stopped = with_pipeline(world, caller, name, |pipeline| {
        let execution = pipeline.executions.iter_mut().find(|e| e.id == id);
        let Some(execution) = execution.filter(|e| e.is_running()) else {
            return Err(Failure::new(
                "PipelineExecutionNotStoppableException",
                format!("Execution {id} of pipeline {name} cannot be stopped"),
            ));
        };
        if abandon {
            if let Some(action) = execution
                .actions
                .last_mut()
                .filter(|a| a.status == "InProgress")
            {
                action.status = "Abandoned".to_owned();
                action.updated = now();
            }
            execution.end("Stopped", words);
        } else if execution.status == "Stopping" {
            let message = format!("Execution {id} is stopping already");
            return Err(Failure::new("DuplicatedStopRequestException", message));
        } else {
            execution.end_as("Stopped", words);
            if execution.is_running() {
                execution.status = "Stopping".to_owned();
            }
        }
        Ok(json!({"pipelineExecutionId": id}))
    });
    let reply = stopped.unwrap_or_else(|| Err(missing(name)))?;
    next(world, caller, name);
    Ok(reply)
}

/// Tells pipelines of the repository that listen to it of a push, a tag or a pull request.
pub fn pushed(world: &Arc<World>, repository: &str, reference: &str, change: &str) {
    let folder = world.config.repositories.join(format!("{repository}.git"));
    let changed = [
        "diff-tree",
        "--root",
        "-r",
        "--name-only",
        "--no-commit-id",
        reference,
    ];
    let changed = std::process::Command::new("git")
        .arg("--git-dir")
        .arg(folder)
        .args(changed)
        .output();
    let changed = changed
        .map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        .unwrap_or_default();
    let event = Event {
        reference,
        change,
        paths: changed.lines().map(str::to_owned).collect(),
    };
    for account in world.account_ids() {
        let listening: Vec<((String, String), &str)> = world.with_account(&account, |a| {
            let connections = &a.connections;
            let trigger = |p: &Pipeline| {
                let structure = p.versions.last().expect("a version");
                let source = configuration(structure, "CodeStarSourceConnection");
                let connection = connections.get(text(&source, "ConnectionArn"));
                let hears = source["FullRepositoryId"] == repository
                    && connection.is_some_and(|c| c.status == "AVAILABLE");
                starts(structure, &source, &event).filter(|_| hears)
            };
            a.pipelines
                .iter()
                .filter_map(|(key, p)| Some((key.clone(), trigger(p)?)))
                .collect()
        });
        for ((region, name), trigger) in listening {
            let caller = Caller {
                account: account.clone(),
                region,
                service: String::new(),
            };
            start(
                world,
                &caller,
                &name,
                trigger,
                Some(reference).filter(|_| trigger == "WebhookV2"),
            );
        }
    }
}

/// Sets an engine on the oldest waiting execution, unless one works already.
fn next(world: &Arc<World>, caller: &Caller, name: &str) {
    let id = with_pipeline(world, caller, name, |pipeline| {
        if pipeline.executions.iter().any(|e| e.active) {
            return None;
        }
        let waiting = pipeline
            .executions
            .iter_mut()
            .find(|e| e.status == "InProgress")?;
        waiting.active = true;
        Some(waiting.id.clone())
    });
    let Some(id) = id.flatten() else { return };
    let world = Arc::clone(world);
    let run = Run {
        caller: Caller {
            account: caller.account.clone(),
            region: caller.region.clone(),
            service: String::new(),
        },
        name: name.to_owned(),
        id,
    };
    tokio::spawn(async move {
        run.execute(&world).await;
        next(&world, &run.caller, &run.name);
    });
}

fn with_pipeline<T>(
    world: &World,
    caller: &Caller,
    name: &str,
    f: impl FnOnce(&mut Pipeline) -> T,
) -> Option<T> {
    world.with_account(&caller.account, |a| {
        a.pipelines
            .get_mut(&(caller.region.clone(), name.to_owned()))
            .map(f)
    })
}

fn configuration(structure: &Value, provider: &str) -> Value {
    let stages = structure["stages"].as_array().into_iter().flatten();
    let mut actions = stages.filter_map(|s| s["actions"].as_array()).flatten();
    actions
        .find(|a| a["actionTypeId"]["provider"] == provider)
        .map_or(Value::Null, |a| a["configuration"].clone())
}

struct Run {
    caller: Caller,
    name: String,
    id: String,
}

impl Run {
    /// Changes the execution, unless it has been ended by somebody else.
    fn change<T>(&self, world: &World, f: impl FnOnce(&mut Execution) -> T) -> Option<T> {
        with_pipeline(world, &self.caller, &self.name, |p| {
            let execution = p
                .executions
                .iter_mut()
                .find(|e| e.id == self.id && e.is_running())?;
            execution.updated = now();
            Some(f(execution))
        })?
    }

    async fn execute(&self, world: &Arc<World>) {
        let structure = with_pipeline(world, &self.caller, &self.name, |p| {
            let version = p
                .executions
                .iter()
                .find(|e| e.id == self.id)
                .map_or(1, |e| e.version);
            p.versions[version - 1].clone()
        });
        let Some(structure) = structure else { return };
        self.announce(world, "pipeline-execution-started", "STARTED")
            .await;
        if let Some(stage) = world.with_account(&self.caller.account, |a| a.imagined) {
            return self.imagine(world, stage).await;
        }
        let source = self
            .action(world, "Source", self.source(world, &structure))
            .await;
        let result = match source {
            Some(Ok(artifact)) => {
                self.action(world, "Deploy", self.deploy(world, &structure, &artifact))
                    .await
            }
            Some(Err(e)) => Some(Err(e)),
            None => None,
        };
        let (status, event, state) = match result {
            Some(Ok(())) => ("Succeeded", "pipeline-execution-succeeded", "SUCCEEDED"),
            Some(Err(_)) => ("Failed", "pipeline-execution-failed", "FAILED"),
            None => {
                // Somebody else has ended it.
                let detail = json!({"pipeline": self.name, "execution-id": self.id, "state": "CANCELED", "version": 1.0});
                return events::announce(world, &self.caller, &self.name, detail).await;
            }
        };
        let ended = self.change(world, |e| {
            e.status = status.to_owned();
            e.active = false;
        });
        if ended.is_some() {
            self.announce(world, event, state).await;
        }
    }

    /// Takes its time, and succeeds without moving anything.
    async fn imagine(&self, world: &Arc<World>, stage: std::time::Duration) {
        tokio::time::sleep(stage * 2).await;
        let commit = format!("{:0<40.40}", self.id.replace('-', ""));
        let ended = self.change(world, |e| {
            e.revision = Some((commit, "Imagined".to_owned()));
            e.status = "Succeeded".to_owned();
            e.active = false;
        });
        if ended.is_some() {
            self.announce(world, "pipeline-execution-succeeded", "SUCCEEDED")
                .await;
        }
    }

    /// Runs one action, and records how it ended; nothing if the execution was ended meanwhile.
    async fn action<T>(
        &self,
        world: &Arc<World>,
        stage: &str,
        work: impl Future<Output = Result<T, Refused>>,
    ) -> Option<Result<T, Refused>> {
        let mut held = world.with_account(&self.caller.account, |a| a.held.subscribe());
        let _ = held.wait_for(|held| !held).await;
        let started = now();
        self.change(world, |e| {
            let run = ActionRun {
                stage: stage.to_owned(),
                status: "InProgress".to_owned(),
                error: None,
                started,
                updated: started,
            };
            e.actions.push(run);
        })?;
        let mut hung = world.with_account(&self.caller.account, |a| a.hung.subscribe());
        let _ = hung.wait_for(|hung| hung.as_deref() != Some(stage)).await;
        self.change(world, |_| ())?;
        let result = work.await;
        let ending = self.change(world, |e| {
            let action = e.actions.last_mut().expect("just pushed");
            action.updated = now();
            action.status = if result.is_ok() {
                "Succeeded"
            } else {
                "Failed"
            }
            .to_owned();
            action.error = result.as_ref().err().cloned();
            let ending = e.ending.take();
            if let Some((status, words)) = &ending {
                e.end(status, words);
            }
            ending
        })?;
        ending.is_none().then_some(result)
    }

    async fn source(&self, world: &Arc<World>, structure: &Value) -> Result<String, Refused> {
        let config = configuration(structure, "CodeStarSourceConnection");
        let connection = text(&config, "ConnectionArn");
        let (repository, branch) = (
            text(&config, "FullRepositoryId"),
            text(&config, "BranchName"),
        );
        // What triggered an execution is what it copies.
        let reference = with_pipeline(world, &self.caller, &self.name, |p| {
            p.executions
                .iter()
                .find(|e| e.id == self.id)
                .and_then(|e| e.reference.clone())
        });
        let reference = reference.flatten().unwrap_or_else(|| branch.to_owned());
        let reference = if reference.starts_with("refs/") {
            reference
        } else {
            format!("refs/heads/{reference}")
        };
        let role = text(structure, "roleArn");
        if !assumable(world, &self.caller, role).await {
            return Err(permission(format!(
                "CodePipeline is not authorized to perform AssumeRole on role {role}"
            )));
        }
        for action in [
            "codestar-connections:UseConnection",
            "codeconnections:UseConnection",
        ] {
            self.permit(world, structure, action, connection)
                .await
                .map_err(|_| {
                    permission(format!(
                        "Unable to use Connection: {connection}. The provided role does not have \
                             sufficient permissions."
                    ))
                })?;
        }
        let (usable, withheld, as_branch) = world.with_account(&self.caller.account, |a| {
            let own = connection.split(':').nth(4) == Some(&self.caller.account);
            (
                own || a.shared_connections.contains(connection),
                a.withheld.contains(repository),
                a.claims.withheld_as_missing_branch,
            )
        });
        let owner = connection.split(':').nth(4).unwrap_or_default();
        let status = world.with_account(owner, |a| {
            let found = a.connections.get(connection).filter(|_| usable);
            found.map(|c| c.status.clone())
        });
        if status.as_deref() != Some("AVAILABLE") {
            let message = format!("Connection {connection} is not available");
            return Err(("ConfigurationError".to_owned(), message));
        }
        let hiccup = world.with_account(&self.caller.account, |a| {
            let hiccup = a.hiccups > 0;
            a.hiccups = a.hiccups.saturating_sub(1);
            hiccup
        });
        if hiccup {
            // The kind of words is known, not the words themselves (ecs-codepipeline#96).
            let message = "An internal error occurred at the source provider. Try again later.";
            return Err(("JobFailed".to_owned(), message.to_owned()));
        }
        let folder = world.config.repositories.join(format!("{repository}.git"));
        let missing = || {
            let message = format!(
                "[GitHub] No Branch [{branch}] found for FullRepositoryName [{repository}]"
            );
            ("ConfigurationError".to_owned(), message)
        };
        if (withheld || !folder.exists()) && as_branch {
            return Err(missing());
        }
        if withheld || !folder.exists() {
            let message =
                format!("Could not access the repository {repository} through the connection");
            return Err(("ConfigurationError".to_owned(), message));
        }
        let commit = format!("{reference}^{{commit}}");
        let commit = git(&folder, &["rev-parse", "--verify", &commit])
            .await
            .map_err(|_| missing())?;
        let commit = String::from_utf8_lossy(&commit).trim().to_owned();
        let message = git(&folder, &["log", "-1", "--format=%B", &commit])
            .await
            .map_err(|_| missing())?;
        let message = String::from_utf8_lossy(&message).trim().to_owned();
        let zip = git(&folder, &["archive", "--format=zip", &commit])
            .await
            .map_err(|_| missing())?;
        self.change(world, |e| e.revision = Some((commit.clone(), message)));

        let bucket = text(&structure["artifactStore"], "location");
        let key = artifact(&self.name, &self.id);
        self.permit(
            world,
            structure,
            "s3:PutObject",
            &format!("arn:aws:s3:::{bucket}/{key}"),
        )
        .await?;
        let policies = self.policies(world, structure).await;
        self.permit_key(world, structure, &policies, "kms:GenerateDataKey", bucket)
            .await?;
        world
            .upstream
            .put_object(&self.caller, bucket, &key, Bytes::from(zip))
            .await
            .map_err(|e| storage(bucket, &e))?;
        Ok(key)
    }

    async fn deploy(
        &self,
        world: &Arc<World>,
        structure: &Value,
        artifact: &str,
    ) -> Result<(), Refused> {
        let config = configuration(structure, "S3");
        let (bucket, prefix) = (text(&config, "BucketName"), text(&config, "ObjectKey"));
        let artifacts = text(&structure["artifactStore"], "location");
        self.permit(
            world,
            structure,
            "s3:GetObject",
            &format!("arn:aws:s3:::{artifacts}/{artifact}"),
        )
        .await?;
        let zip = world
            .upstream
            .get_object(&self.caller, artifacts, artifact)
            .await
            .map_err(|e| storage(artifacts, &e))?;
        // Many files are copied: what the role may is asked once.
        let policies = self.policies(world, structure).await;
        for (action, bucket) in [("kms:Decrypt", artifacts), ("kms:GenerateDataKey", bucket)] {
            self.permit_key(world, structure, &policies, action, bucket)
                .await?;
        }
        for (path, content) in unzip(&zip).map_err(|e| ("JobFailed".to_owned(), e))? {
            let key = if prefix.is_empty() {
                path
            } else {
                format!("{prefix}/{path}")
            };
            self.permitted(
                &policies,
                structure,
                "s3:PutObject",
                &format!("arn:aws:s3:::{bucket}/{key}"),
            )?;
            if self.change(world, |_| ()).is_none() {
                return Ok(());
            }
            world
                .upstream
                .put_object(&self.caller, bucket, &key, content)
                .await
                .map_err(|e| storage(bucket, &e))?;
        }
        Ok(())
    }

    /// Whether the pipeline's role may, by its policies as they are at this moment.
    async fn permit(
        &self,
        world: &Arc<World>,
        structure: &Value,
        action: &str,
        resource: &str,
    ) -> Result<(), Refused> {
        self.permitted(
            &self.policies(world, structure).await,
            structure,
            action,
            resource,
        )
    }

    /// Whether the role may use the key that encrypts the bucket, if one does. The policies of keys
    /// are not known here: they leave it to IAM.
    /// <https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html>
    async fn permit_key(
        &self,
        world: &Arc<World>,
        structure: &Value,
        policies: &[Value],
        action: &str,
        bucket: &str,
    ) -> Result<(), Refused> {
        match world.upstream.bucket_key(&self.caller, bucket).await {
            Some(key) => self.permitted(policies, structure, action, &key),
            None => Ok(()),
        }
    }

    async fn policies(&self, world: &Arc<World>, structure: &Value) -> Vec<Value> {
        let name = text(structure, "roleArn")
            .rsplit('/')
            .next()
            .unwrap_or_default();
        world
            .upstream
            .role(&self.caller, name)
            .await
            .map(|(_, policies)| policies)
            .unwrap_or_default()
    }

    fn permitted(
        &self,
        policies: &[Value],
        structure: &Value,
        action: &str,
        resource: &str,
    ) -> Result<(), Refused> {
        let role = text(structure, "roleArn");
        let context = HashMap::from([("aws:resourceaccount", self.caller.account.clone())]);
        match iam::allows(
            policies,
            &iam::Request {
                principal: None,
                action,
                resource,
                context,
            },
        ) {
            Ok(true) => Ok(()),
            Ok(false) => Err(permission(format!(
                "The service role or action role doesn't have the permissions required. Update the \
                 IAM role permissions, and then try again. Error: User: {} is not authorized to \
                 perform: {action} on resource: \"{resource}\" because no identity-based policy \
                 allows the {action} action",
                session(role)
            ))),
            Err(unknown) => Err(("JobFailed".to_owned(), unknown)),
        }
    }

    async fn announce(&self, world: &Arc<World>, event: &str, state: &str) {
        let detail =
            json!({"pipeline": self.name, "execution-id": self.id, "state": state, "version": 1.0});
        events::announce(world, &self.caller, &self.name, detail.clone()).await;
        if world.with_account(&self.caller.account, |a| a.imagined.is_some()) {
            return;
        }
        notifications::announce(
            world,
            &self.caller,
            &arn(&self.caller, &self.name),
            event,
            detail,
        )
        .await;
    }
}

/// Key of a source artifact: CodePipeline's own folders are the pipeline's name cut to 20
/// characters, and the artifact's cut to 10.
pub fn artifact(pipeline: &str, execution: &str) -> String {
    format!("{pipeline:.20}/SourceArti/{execution:.7}")
}

/// ARN of CodePipeline's session of a role.
fn session(role: &str) -> String {
    let account = role.split(':').nth(4).unwrap_or_default();
    let name = role.rsplit('/').next().unwrap_or_default();
    format!("arn:aws:sts::{account}:assumed-role/{name}/codepipeline")
}

fn permission(message: String) -> Refused {
    ("PermissionError".to_owned(), message)
}

fn storage(bucket: &str, code: &str) -> Refused {
    (
        "JobFailed".to_owned(),
        format!("S3 refused an object of bucket {bucket}: {code}"),
    )
}

async fn git(folder: &PathBuf, arguments: &[&str]) -> Result<Vec<u8>, String> {
    let output = tokio::process::Command::new("git")
        .arg("--git-dir")
        .arg(folder)
        .args(arguments)
        .output()
        .await;
    let output = output.map_err(|e| format!("git: {e}"))?;
    if output.status.success() {
        Ok(output.stdout)
    } else {
        Err(String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn unzip(zip: &Bytes) -> Result<Vec<(String, Bytes)>, String> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(zip)).map_err(|e| e.to_string())?;
    let mut files = Vec::new();
    for index in 0..archive.len() {
        let mut entry = archive.by_index(index).map_err(|e| e.to_string())?;
        if entry.is_dir() {
            continue;
        }
        let name = entry.name().map_err(|e| e.to_string())?.into_owned();
        let mut content = Vec::new();
        entry.read_to_end(&mut content).map_err(|e| e.to_string())?;
        files.push((name, Bytes::from(content)));
    }
    Ok(files)
}
