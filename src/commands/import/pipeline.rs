//! Translates an existing pipeline into the manifest of a fan-out that takes it over.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::domain::arn;
use crate::domain::owner::{Owner, Tags};
use crate::domain::placement::Placement;
use crate::resource::notification_rule::ObservedRule;
use crate::resource::pipeline::Declaration;
use crate::spec::pipeline::PARALLEL;

/// The parts of an existing pipeline that matter here.
#[derive(Clone, Debug)]
pub struct Found {
    /// Its name.
    pub name: String,
    /// Its ARN.
    pub arn: String,
    /// Its structure.
    pub declaration: Declaration,
    /// All its tags.
    pub tags: Tags,
    /// The notification rule that watches it, if there is one.
    pub rule: Option<ObservedRule>,
}

impl Found {
    /// The spec of a fan-out that does what the pipeline does, or the reason why there is none.
    ///
    /// # Errors
    /// The part of the pipeline that no fan-out can express.
    pub fn spec(&self, place: &Placement) -> Result<Value, String> {
        let Declaration {
            pipeline_type,
            execution_mode,
            artifacts,
            triggers,
            ..
        } = &self.declaration;
        if !Owner::unowned(&self.tags) {
            return Err("it has an owner already, according to its tags".to_owned());
        }
        let Some((source, deploy)) = self.declaration.actions() else {
            return Err(
                "it is not of two stages with one action each, a CodeStarSourceConnection and an \
                     S3 deployment"
                    .to_owned(),
            );
        };
        let of = |action: &crate::resource::pipeline::Action, key: &str| {
            action.configuration.get(key).cloned().unwrap_or_default()
        };
        if of(deploy, "Extract") != "true" {
            return Err(
                "its deployment does not extract the files (Extract is not true)".to_owned(),
            );
        }
        let prefix = of(deploy, "ObjectKey");
        let prefix = prefix.trim_end_matches('/');
        if prefix.is_empty() {
            return Err(
                "it deploys without a prefix (ObjectKey), and a fan-out needs one".to_owned(),
            );
        }
        if of(source, "OutputArtifactFormat") == "CODEBUILD_CLONE_REF" {
            return Err(
                "its source passes on a reference instead of files (OutputArtifactFormat is \
                     CODEBUILD_CLONE_REF)"
                    .to_owned(),
            );
        }
        if artifacts.is_empty() {
            return Err("it has artifact stores in several regions".to_owned());
        }
        if execution_mode.as_str() == PARALLEL {
            return Err(
                "it runs executions in parallel, which lets an older one overwrite a newer one"
                    .to_owned(),
            );
        }
        let mut pipeline = json!({"name": self.name, "type": pipeline_type.as_str(), "executionMode": execution_mode.as_str()});
        match triggers {
            Some(triggers) => pipeline["triggers"] = json!(triggers),
            None if of(source, "DetectChanges") == "false" => {
                pipeline["detectChanges"] = json!(false)
            }
            None => {}
        }
        let mut adopt = vec!["Pipeline"];
        let mut notifications = json!({"topicName": topic_name(&self.name)});
        if let Some((rule, topic)) = self.announced() {
            adopt.push("NotificationRule");
            let events: Vec<&str> = rule
                .events
                .iter()
                .map(|e| e.strip_prefix("codepipeline-pipeline-").unwrap_or(e))
                .collect();
            notifications = json!({"existingTopicARN": topic, "events": events, "detail": rule.detail.as_str()});
        }
        Ok(json!({
            "repository": of(source, "FullRepositoryId"),
            "branch": of(source, "BranchName"),
            "region": place.region,
            "connection": {"existingARN": of(source, "ConnectionArn")},
            "destination": {"existingBucket": of(deploy, "BucketName"), "prefix": prefix},
            "artifacts": {"existingBucket": artifacts},
            "pipeline": pipeline,
            "notifications": notifications,
            "adopt": adopt,
        }))
    }

    /// The notification rule that announces on a topic, and the topic's ARN.
    fn announced(&self) -> Option<(&ObservedRule, &str)> {
        let rule = self.rule.as_ref()?;
        Some((
            rule,
            &*rule.targets.iter().find(|t| t.kind == "SNS")?.address,
        ))
    }

    /// ARNs that `--allow-existing` has to cover for the manifest.
    pub fn existing(&self, place: &Placement) -> BTreeSet<String> {
        let bucket = |name: &str| arn::bucket(&place.partition, name);
        let mut all = BTreeSet::from([
            self.arn.clone(),
            self.declaration.role_arn.clone(),
            bucket(&self.declaration.artifacts),
        ]);
        if let Some((source, deploy)) = self.declaration.actions() {
            all.extend(source.configuration.get("ConnectionArn").cloned());
            all.extend(
                deploy
                    .configuration
                    .get("BucketName")
                    .map(|name| bucket(name)),
            );
        }
        all.extend(self.announced().map(|(_, topic)| topic.to_owned()));
        all
    }

    /// ARNs of the resources that are taken over.
    pub fn taken(&self) -> BTreeSet<String> {
        let rule = self.announced().map(|(rule, _)| rule.arn.clone());
        [Some(self.arn.clone()), rule]
            .into_iter()
            .flatten()
            .collect()
    }

    /// Name for its object, of characters that Kubernetes accepts.
    pub fn object_name(&self) -> String {
        let plain = |c: char| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '-'
            }
        };
        let name: String = self.name.chars().map(plain).take(60).collect();
        match name.trim_matches('-') {
            "" => "pipeline".to_owned(),
            name => name.to_owned(),
        }
    }
}

/// A topic name made of the pipeline's name: SNS accepts fewer characters than CodePipeline.
fn topic_name(pipeline: &str) -> String {
    pipeline
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "_-".contains(c) {
                c
            } else {
                '-'
            }
        })
        .collect()
}
