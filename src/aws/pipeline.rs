//! CodePipeline pipelines and their executions.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_codepipeline::types::{
    ActionCategory, ActionExecutionDetail, ActionExecutionFilter, ActionExecutionStatus, Tag,
};
use jiff::Timestamp;

use crate::aws::{
    Clients, declaration, execution, found, gone, incomplete, timestamp, unbuildable,
};
use crate::cloud::{Pipelines, Result};
use crate::domain::execution::{Execution, Failure, RunningAction, Target};
use crate::domain::names::SOURCE;
use crate::domain::owner::Tags;
use crate::resource::delta::{Delta, Field};
use crate::resource::pipeline::Pipeline;
use crate::resource::pipeline::{ListedPipeline, ObservedPipeline};

/// How many executions one look asks for: enough to see a success behind a queue.
const EXECUTIONS: i32 = 10;

#[async_trait]
impl Pipelines for Clients {
    async fn observe(&self, name: &str, arn: &str) -> Result<Option<ObservedPipeline>> {
        const CALL: &str = "codepipeline:GetPipeline";
        let get = self.codepipeline.get_pipeline().name(name).send();
        let Some(answer) = found(self.call(CALL, get).await)? else {
            return Ok(None);
        };
        let pipeline = answer
            .pipeline()
            .ok_or_else(|| incomplete(CALL, "the pipeline"))?;
        let tags = self
            .codepipeline
            .list_tags_for_resource()
            .resource_arn(arn)
            .into_paginator()
            .send();
        let tags = found(self.pages("codepipeline:ListTagsForResource", tags).await)?;
        Ok(Some(ObservedPipeline {
            declaration: declaration::read(pipeline),
            version: pipeline.version().unwrap_or(1),
            updated_at: timestamp(answer.metadata().and_then(|m| m.updated())),
            tags: tags
                .iter()
                .flatten()
                .flat_map(|page| page.tags())
                .map(|t| (t.key().to_owned(), t.value().to_owned()))
                .collect(),
        }))
    }

    async fn create(&self, desired: &Pipeline) -> Result<ObservedPipeline> {
        const CALL: &str = "codepipeline:CreatePipeline";
        let declaration = declaration::write(desired).map_err(unbuildable(CALL))?;
        let create = self
            .codepipeline
            .create_pipeline()
            .pipeline(declaration)
            .set_tags(Some(tag_set!(Tag, CALL, &desired.tags)?));
        self.call(CALL, create.send()).await?;
        Ok(desired.created())
    }

    async fn update(&self, desired: &Pipeline, delta: &Delta) -> Result<()> {
        if delta.has(Field::Declaration) {
            const CALL: &str = "codepipeline:UpdatePipeline";
            let mut declaration = declaration::write(desired).map_err(unbuildable(CALL))?;
            if desired.taken.is_some() {
                // An update writes a pipeline as a whole: what we know nothing of has to be sent
                // along.
                const READ: &str = "codepipeline:GetPipeline";
                let get = self.codepipeline.get_pipeline().name(&desired.name).send();
                let present = self
                    .call(READ, get)
                    .await?
                    .pipeline
                    .ok_or_else(|| incomplete(READ, "the pipeline"))?;
                declaration = declaration::overlay(present, declaration);
            }
            self.call(
                CALL,
                self.codepipeline
                    .update_pipeline()
                    .pipeline(declaration)
                    .send(),
            )
            .await?;
        }
        if delta.has(Field::Tags) {
            Pipelines::tag(self, &desired.arn, &delta.tags()).await?;
        }
        Ok(())
    }

    async fn tag(&self, arn: &str, tags: &Tags) -> Result<()> {
        const CALL: &str = "codepipeline:TagResource";
        let tag = self
            .codepipeline
            .tag_resource()
            .resource_arn(arn)
            .set_tags(Some(tag_set!(Tag, CALL, tags)?));
        self.call(CALL, tag.send()).await.map(|_| ())
    }

    async fn delete(&self, name: &str) -> Result<()> {
        gone(
            self.call(
                "codepipeline:DeletePipeline",
                self.codepipeline.delete_pipeline().name(name).send(),
            )
            .await,
        )
    }

    async fn list(&self, age: Duration) -> Result<Arc<BTreeMap<String, ListedPipeline>>> {
        let ask = async {
            let pages = self
                .codepipeline
                .list_pipelines()
                .max_results(1000)
                .into_paginator()
                .send();
            let pages = self.pages("codepipeline:ListPipelines", pages).await?;
            let all = pages.iter().flat_map(|p| p.pipelines()).map(|p| {
                let listed = ListedPipeline {
                    version: p.version().unwrap_or(1),
                    updated_at: timestamp(p.updated()),
                };
                (p.name().unwrap_or_default().to_owned(), listed)
            });
            Ok(all.collect())
        };
        self.listed_pipelines.get(age, ask).await
    }

    async fn executions(&self, name: &str) -> Result<Vec<Execution>> {
        // A page may be empty although more follow, and behind ten that wait runs an older one.
        let enough = |all: &[Execution]| {
            all.len() >= EXECUTIONS as usize && all.iter().any(|e| !e.state.is_running())
        };
        self.executions_until(name, EXECUTIONS, enough).await
    }

    async fn target(&self, name: &str, execution: &str) -> Result<Option<Target>> {
        let get = self
            .codepipeline
            .get_pipeline_execution()
            .pipeline_name(name)
            .pipeline_execution_id(execution)
            .send();
        let answer = found(self.call("codepipeline:GetPipelineExecution", get).await)?;
        let Some(version) = answer
            .and_then(|a| a.pipeline_execution)
            .and_then(|e| e.pipeline_version)
        else {
            return Ok(None);
        };
        let get = self
            .codepipeline
            .get_pipeline()
            .name(name)
            .version(version)
            .send();
        let answer = found(self.call("codepipeline:GetPipeline", get).await)?;
        Ok(answer
            .and_then(|a| a.pipeline)
            .and_then(|p| declaration::read(&p).target()))
    }

    async fn failure(&self, name: &str, execution: &str) -> Result<Option<Failure>> {
        let details = self.actions(name, execution).await?;
        let failed = details
            .iter()
            .find(|d| d.status() == Some(&ActionExecutionStatus::Failed));
        Ok(Some(failed.map_or_else(
            execution::failure_without_action,
            execution::read_failure,
        )))
    }

    async fn running(&self, name: &str, execution: &str) -> Result<Option<RunningAction>> {
        let details = self.actions(name, execution).await?;
        let running = details
            .iter()
            .find(|d| d.status() == Some(&ActionExecutionStatus::InProgress));
        Ok(running.map(|detail| {
            let stage = detail.stage_name().unwrap_or_default().to_owned();
            let id = detail.input().and_then(|input| input.action_type_id());
            RunningAction {
                is_source: match id {
                    Some(id) => id.category() == &ActionCategory::Source,
                    None => stage == SOURCE,
                },
                since: timestamp(detail.start_time()),
                stage,
            }
        }))
    }

    async fn stop(&self, name: &str, execution: &str, abandon: bool, reason: &str) -> Result<()> {
        let stop = self
            .codepipeline
            .stop_pipeline_execution()
            .pipeline_name(name)
            .pipeline_execution_id(execution)
            .abandon(abandon)
            .reason(reason)
            .send();
        let stopped = self.call("codepipeline:StopPipelineExecution", stop).await;
        match gone(stopped.map(|_| ())) {
            // It is stopping already.
            Err(error) if error.code.as_deref() == Some("DuplicatedStopRequestException") => Ok(()),
            stopped => stopped,
        }
    }

    async fn history(&self, name: &str, since: Timestamp) -> Result<Vec<Execution>> {
        let enough = |all: &[Execution]| all.last().is_some_and(|oldest| oldest.updated_at < since);
        let mut all = self.executions_until(name, 100, enough).await?;
        all.retain(|e| e.updated_at >= since);
        Ok(all)
    }

    async fn artifact(&self, name: &str, execution: &str) -> Result<Option<(String, String)>> {
        let details = self.actions(name, execution).await?;
        let artifacts = details
            .iter()
            .flat_map(|d| d.output().map(|o| o.output_artifacts()).unwrap_or_default());
        let mut places = artifacts.filter_map(|artifact| artifact.s3_location());
        Ok(places.find_map(|place| Some((place.bucket()?.to_owned(), place.key()?.to_owned()))))
    }

    async fn start(&self, name: &str, token: &str) -> Result<()> {
        let start = self
            .codepipeline
            .start_pipeline_execution()
            .name(name)
            .client_request_token(token)
            .send();
        self.call("codepipeline:StartPipelineExecution", start)
            .await
            .map(|_| ())
    }
}

impl Clients {
    async fn actions(&self, name: &str, execution: &str) -> Result<Vec<ActionExecutionDetail>> {
        let filter = ActionExecutionFilter::builder()
            .pipeline_execution_id(execution)
            .build();
        let pages = self
            .codepipeline
            .list_action_executions()
            .pipeline_name(name)
            .filter(filter)
            .into_paginator()
            .send();
        let pages = found(self.pages("codepipeline:ListActionExecutions", pages).await)?;
        let pages = pages.into_iter().flatten();
        let details = pages.filter_map(|page| page.action_execution_details);
        Ok(details.flatten().collect())
    }

    /// The executions, newest first, page by page until they are enough.
    async fn executions_until(
        &self,
        name: &str,
        page: i32,
        enough: impl Fn(&[Execution]) -> bool,
    ) -> Result<Vec<Execution>> {
        let mut all = Vec::new();
        let mut next = None;
        loop {
            let list = self
                .codepipeline
                .list_pipeline_executions()
                .pipeline_name(name)
                .max_results(page)
                .set_next_token(next)
                .send();
            let answer = self.call("codepipeline:ListPipelineExecutions", list).await;
            let Some(page) = found(answer)? else {
                return Ok(all);
            };
            let summaries = page.pipeline_execution_summaries();
            all.extend(summaries.iter().map(execution::read));
            next = page.next_token;
            if next.is_none() || enough(&all) {
                return Ok(all);
            }
        }
    }
}
