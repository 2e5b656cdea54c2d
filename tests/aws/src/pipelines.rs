//! CodePipeline's operations.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use http_body_util::Full;
use serde_json::{Value, json};

use crate::engine;
use crate::front::Caller;
use crate::iam;
use crate::reply::{Answer, Failure, Reply, page, text};
use crate::state::{Execution, Pipeline, World, now};
use crate::triggers;

pub async fn handle(world: &Arc<World>, caller: &Caller, operation: &str, input: &Value) -> Reply {
    match operation {
        "CreatePipeline" | "UpdatePipeline" => {
            check_role(world, caller, &input["pipeline"]).await?;
            check_structure(&input["pipeline"])?;
            let name = text(&input["pipeline"], "name").to_owned();
            let reply = if operation == "CreatePipeline" {
                create(world, caller, input)
            } else {
                update(world, caller, input)
            }?;
            if operation == "CreatePipeline" {
                engine::start(world, caller, &name, "CreatePipeline", None);
            }
            Ok(reply)
        }
        "StartPipelineExecution" => start(world, caller, input),
        "StopPipelineExecution" => engine::stop(world, caller, input),
        "DeletePipeline" => world.with_account(&caller.account, |account| {
            match account.pipelines.remove(&key(caller, text(input, "name"))) {
                None if !account.claims.delete_missing_pipeline => Err(missing(text(input, "name"))),
                _ => Ok(json!({})),
            }
        }),
        "ListPipelines" => world.with_account(&caller.account, |account| {
            let hidden = account.hidden("codepipeline");
            let here = account.pipelines.iter().filter(|((region, name), _)| {
                *region == caller.region && !hidden.contains(name)
            });
            let all = here.map(|((_, name), p)| {
                let newest = p.versions.last();
                json!({
                    "name": name, "version": p.versions.len(), "created": p.created, "updated": p.updated,
                    "pipelineType": newest.map(|n| &n["pipelineType"]), "executionMode": newest.map(|n| &n["executionMode"]),
                })
            });
            Ok(json!({"pipelines": all.collect::<Vec<_>>()}))
        }),
        _ => read(world, caller, operation, input),
    }
}

fn key(caller: &Caller, name: &str) -> (String, String) {
    (caller.region.clone(), name.to_owned())
}

pub fn arn(caller: &Caller, name: &str) -> String {
    format!(
        "arn:aws:codepipeline:{}:{}:{name}",
        caller.region, caller.account
    )
}

pub fn missing(name: &str) -> Failure {
    Failure::new(
        "PipelineNotFoundException",
        format!("Account does not have a pipeline with name '{name}'"),
    )
}

fn read(world: &Arc<World>, caller: &Caller, operation: &str, input: &Value) -> Reply {
    world.with_account(&caller.account, |account| {
        let claims = account.claims;
        let by_arn = text(input, "resourceArn").rsplit(':').next().unwrap_or_default();
        let name = [text(input, "name"), text(input, "pipelineName"), by_arn].into_iter().find(|n| !n.is_empty()).unwrap_or_default();
        let found = account.pipelines.get_mut(&key(caller, name));
        let Some(pipeline) = found else {
            let by_tag = operation.ends_with("Resource");
            return Err(if by_tag { Failure::new("ResourceNotFoundException", format!("no resource {name}")) } else { missing(name) });
        };
        match operation {
            "GetPipeline" => {
                let newest = pipeline.versions.len();
                let version = input["version"].as_u64().map_or(newest, |v| v as usize);
                let structure = version.checked_sub(1).and_then(|i| pipeline.versions.get(i));
                let mut structure =
                    structure.cloned().ok_or_else(|| Failure::new("PipelineVersionNotFoundException", format!("no version {version}")))?;
                structure["version"] = json!(version);
                if claims.default_trigger && let Some(added) = triggers::default(&structure) {
                    structure["triggers"] = json!([added]);
                }
                if claims.added_region {
                    let actions = structure["stages"].as_array_mut().into_iter().flatten();
                    for action in actions.filter_map(|s| s["actions"].as_array_mut()).flatten() {
                        action["region"] = json!(caller.region);
                    }
                }
                let metadata = json!({"pipelineArn": arn(caller, name), "created": pipeline.created, "updated": pipeline.updated});
                Ok(json!({"pipeline": structure, "metadata": metadata}))
            }
            "ListPipelineExecutions" => {
                let newest = pipeline.executions.iter().rev().map(|e| summary(e, pipeline));
                page(input, "pipelineExecutionSummaries", &newest.collect::<Vec<_>>(), 100, claims.empty_pages)
            }
            "GetPipelineExecution" => {
                let id = text(input, "pipelineExecutionId");
                let execution = pipeline.executions.iter().find(|e| e.id == id);
                let execution = execution.ok_or_else(|| Failure::new("PipelineExecutionNotFoundException", format!("no execution {id}")))?;
                Ok(json!({"pipelineExecution": {
                    "pipelineName": name, "pipelineVersion": execution.version, "pipelineExecutionId": id, "status": execution.status,
                }}))
            }
            "ListActionExecutions" => {
                let wanted = input["filter"]["pipelineExecutionId"].as_str();
                let newest = pipeline.executions.iter().rev().filter(|e| wanted.is_none_or(|id| e.id == id));
                let actions = newest.flat_map(|e| e.actions.iter().rev().map(move |a| (e, a)));
                let details = actions.map(|(e, a)| {
                    let mut result = json!({});
                    if let Some((code, message)) = &a.error {
                        result = match claims.failure_codes {
                            true => json!({"errorDetails": {"code": code, "message": message}}),
                            false => json!({"externalExecutionSummary": message}),
                        };
                    }
                    let mut output = json!({"executionResult": result});
                    if (&*a.stage, &*a.status) == ("Source", "Succeeded") {
                        let bucket = &pipeline.versions[e.version - 1]["artifactStore"]["location"];
                        let place = json!({"bucket": bucket, "key": engine::artifact(name, &e.id)});
                        output["outputArtifacts"] = json!([{"name": "SourceArtifact", "s3location": place}]);
                    }
                    let (category, provider) = match &*a.stage {
                        "Source" => ("Source", "CodeStarSourceConnection"),
                        _ => ("Deploy", "S3"),
                    };
                    let kind = json!({"category": category, "owner": "AWS", "provider": provider, "version": "1"});
                    json!({
                        "pipelineExecutionId": e.id, "pipelineVersion": e.version, "stageName": a.stage, "actionName": a.stage,
                        "startTime": a.started, "lastUpdateTime": a.updated, "status": a.status, "output": output,
                        "input": {"actionTypeId": kind},
                    })
                });
                page(input, "actionExecutionDetails", &details.collect::<Vec<_>>(), 100, claims.empty_pages)
            }
            "ListTagsForResource" => {
                let tags: Vec<Value> = pipeline.tags.iter().map(|(k, v)| json!({"key": k, "value": v})).collect();
                page(input, "tags", &tags, 100, claims.empty_pages)
            }
            "TagResource" => {
                pipeline.tags.extend(tags(input));
                Ok(json!({}))
            }
            other => Err(Failure::new("UnknownOperationException", other)),
        }
    })
}

fn summary(execution: &Execution, pipeline: &Pipeline) -> Value {
    let mode = pipeline
        .versions
        .get(execution.version - 1)
        .map_or("SUPERSEDED", |s| {
            s["executionMode"].as_str().unwrap_or("SUPERSEDED")
        });
    let mut value = json!({
        "pipelineExecutionId": execution.id, "status": execution.status, "startTime": execution.started,
        "lastUpdateTime": execution.updated, "trigger": {"triggerType": execution.trigger}, "executionMode": mode,
        "executionType": "STANDARD", "sourceRevisions": [],
    });
    if let Some(text) = &execution.summary {
        value["statusSummary"] = json!(text);
    }
    if let Some((id, message)) = &execution.revision {
        // As recorded from AWS: the summary is JSON in a string.
        let summary = json!({"ProviderType": "GitHub", "CommitMessage": message}).to_string();
        value["sourceRevisions"] =
            json!([{"actionName": "Source", "revisionId": id, "revisionSummary": summary}]);
    }
    value
}

fn tags(input: &Value) -> BTreeMap<String, String> {
    let tags = input["tags"].as_array().into_iter().flatten();
    tags.map(|t| (text(t, "key").to_owned(), text(t, "value").to_owned()))
        .collect()
}

fn create(world: &World, caller: &Caller, input: &Value) -> Reply {
    let structure = input["pipeline"].clone();
    let name = text(&structure, "name");
    world.with_account(&caller.account, |account| {
        let key = key(caller, name);
        if account.pipelines.contains_key(&key) {
            return Err(Failure::new(
                "PipelineNameInUseException",
                format!("A pipeline with the name '{name}' already exists in account"),
            ));
        }
        let pipeline = Pipeline {
            versions: vec![structure.clone()],
            created: now(),
            updated: now(),
            tags: tags(input),
            executions: Vec::new(),
            tokens: HashMap::new(),
        };
        account.pipelines.insert(key, pipeline);
        account.note("codepipeline", name);
        Ok(json!({"pipeline": structure, "tags": input["tags"]}))
    })
}

fn update(world: &World, caller: &Caller, input: &Value) -> Reply {
    let mut structure = input["pipeline"].clone();
    let name = text(&structure, "name").to_owned();
    world.with_account(&caller.account, |account| {
        let pipeline = account.pipelines.get_mut(&key(caller, &name));
        let pipeline = pipeline.ok_or_else(|| {
            Failure::new("ResourceNotFoundException", format!("no pipeline {name}"))
        })?;
        pipeline.versions.push(structure.clone());
        pipeline.updated = now();
        // Actions in progress end first.
        // <https://docs.aws.amazon.com/codepipeline/latest/userguide/concepts-how-it-works.html>
        for execution in &mut pipeline.executions {
            let words = "The execution was canceled because the pipeline structure was updated";
            execution.end_as("Cancelled", words);
        }
        structure["version"] = json!(pipeline.versions.len());
        Ok(json!({"pipeline": structure}))
    })
}

fn start(world: &Arc<World>, caller: &Caller, input: &Value) -> Reply {
    let (name, token) = (text(input, "name"), input["clientRequestToken"].as_str());
    let known = world.with_account(&caller.account, |account| {
        let pipeline = account
            .pipelines
            .get(&key(caller, name))
            .ok_or_else(|| missing(name))?;
        Ok(token.and_then(|t| pipeline.tokens.get(t).cloned()))
    })?;
    if let Some(id) = known {
        return Ok(json!({"pipelineExecutionId": id}));
    }
    let id = engine::start(world, caller, name, "StartPipelineExecution", None);
    if let (Some(token), Some(id)) = (token, &id) {
        world.with_account(&caller.account, |account| {
            let pipeline = account.pipelines.get_mut(&key(caller, name));
            pipeline.map(|p| p.tokens.insert(token.to_owned(), id.clone()));
        });
    }
    Ok(json!({"pipelineExecutionId": id}))
}

async fn check_role(world: &World, caller: &Caller, structure: &Value) -> Result<(), Failure> {
    let arn = text(structure, "roleArn");
    let refused = || {
        let message = format!("CodePipeline is not authorized to perform AssumeRole on role {arn}");
        Err(Failure::new("InvalidStructureException", message))
    };
    let delayed = world.with_account(&caller.account, |account| {
        let delayed = account.assume_refusals > 0;
        account.assume_refusals = account.assume_refusals.saturating_sub(1);
        delayed
    });
    if delayed || !assumable(world, caller, arn).await {
        return refused();
    }
    Ok(())
}

/// Whether the role's trust policy lets CodePipeline assume it.
pub async fn assumable(world: &World, caller: &Caller, role_arn: &str) -> bool {
    let name = role_arn.rsplit('/').next().unwrap_or_default();
    let Some((trust, _)) = world.upstream.role(caller, name).await else {
        return false;
    };
    let request = iam::Request {
        principal: Some("codepipeline.amazonaws.com"),
        action: "sts:AssumeRole",
        resource: "",
        context: HashMap::new(),
    };
    iam::allows(&[trust], &request) == Ok(true)
}

fn check_structure(structure: &Value) -> Result<(), Failure> {
    let stages = structure["stages"].as_array().map_or(0, Vec::len);
    if stages < 2 {
        return Err(Failure::new(
            "InvalidStructureException",
            "Pipeline should have at least 2 stages",
        ));
    }
    if structure["artifactStore"].is_null() {
        return Err(Failure::new(
            "InvalidStructureException",
            "Pipeline must have an artifactStore",
        ));
    }
    let v1 = structure["pipelineType"].as_str().unwrap_or("V1") == "V1";
    if v1
        && structure["executionMode"]
            .as_str()
            .is_some_and(|m| m != "SUPERSEDED")
    {
        return Err(Failure::new(
            "InvalidStructureException",
            "V1 pipelines only support the SUPERSEDED execution mode",
        ));
    }
    triggers::check(structure).map_err(|m| Failure::new("InvalidStructureException", m))?;
    for action in structure["stages"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|s| s["actions"].as_array())
        .flatten()
    {
        let required: &[&str] = match action["actionTypeId"]["provider"].as_str() {
            Some("CodeStarSourceConnection") => {
                &["ConnectionArn", "FullRepositoryId", "BranchName"]
            }
            Some("S3") => &["BucketName", "Extract"],
            other => {
                return Err(Failure::new(
                    "InvalidActionDeclarationException",
                    format!("this stand-in runs no action of {other:?}"),
                ));
            }
        };
        if let Some(absent) = required.iter().find(|k| {
            action["configuration"][**k]
                .as_str()
                .is_none_or(str::is_empty)
        }) {
            let message = format!(
                "Action configuration for action '{}' is missing required configuration '{absent}'",
                text(action, "name")
            );
            return Err(Failure::new("InvalidActionDeclarationException", message));
        }
    }
    Ok(())
}

/// The account's service-linked role for notifications, which ministack names otherwise.
pub fn service_linked_role(
    world: &World,
    caller: &Caller,
    operation: &str,
    body: &Bytes,
) -> Option<Answer> {
    const NAME: &str = "AWSServiceRoleForCodeStarNotifications";
    let body = String::from_utf8_lossy(body);
    let answer = |status: u16, xml: String| {
        let builder = hyper::Response::builder()
            .status(status)
            .header("content-type", "text/xml");
        Some(
            builder
                .body(Full::new(Bytes::from(xml)))
                .expect("a response"),
        )
    };
    let role = format!(
        "<Role><Path>/aws-service-role/codestar-notifications.amazonaws.com/</Path><RoleName>{NAME}</RoleName><RoleId>AROASERVICE</RoleId><Arn>arn:aws:iam::{}:role/aws-service-role/codestar-notifications.amazonaws.com/{NAME}</Arn><CreateDate>2026-01-01T00:00:00Z</CreateDate><AssumeRolePolicyDocument>%7B%7D</AssumeRolePolicyDocument></Role>",
        caller.account
    );
    let error = |code: &str, message: &str| {
        format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error></ErrorResponse>"
        )
    };
    let exists = world.with_account(&caller.account, |a| a.service_linked_role);
    match operation {
        "GetRole" if body.contains(NAME) => match exists {
            true => answer(
                200,
                format!("<GetRoleResponse><GetRoleResult>{role}</GetRoleResult></GetRoleResponse>"),
            ),
            false => answer(
                404,
                error(
                    "NoSuchEntity",
                    &format!("The role with name {NAME} cannot be found."),
                ),
            ),
        },
        "CreateServiceLinkedRole" => match exists {
            true => answer(
                400,
                error(
                    "InvalidInput",
                    &format!(
                        "Service role name {NAME} has been taken in this account, please try a \
                             different suffix."
                    ),
                ),
            ),
            false => {
                world.with_account(&caller.account, |a| a.service_linked_role = true);
                answer(
                    200,
                    format!(
                        "<CreateServiceLinkedRoleResponse><CreateServiceLinkedRoleResult>{role}</CreateServiceLinkedRoleResult></CreateServiceLinkedRoleResponse>"
                    ),
                )
            }
        },
        _ => None,
    }
}
