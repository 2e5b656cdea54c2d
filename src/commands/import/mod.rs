//! `repofanout import`: prints manifests for existing pipelines, and what applying them would
//! change.

pub mod pipeline;
pub mod terraform;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{Client, Config};
use serde_json::json;

use crate::api::RepoFanout;
use crate::aws::Aws;
use crate::cli::Import;
use crate::cloud::{Cloud, Clouds};
use crate::commands::import::pipeline::Found;
use crate::commands::{aws_options, say, settings, snapshot};
use crate::domain::computed::Computed;
use crate::domain::pattern::covers;
use crate::domain::placement::Placement;
use crate::metrics::Metrics;
use crate::reconcile;

/// Number of pipelines that are read at the same time.
const AT_ONCE: usize = 8;

/// Prints a manifest for each pipeline that a RepoFanout could take over, with what applying it
/// would change, and for every other pipeline the reason why none could.
///
/// # Errors
/// AWS does not answer, a state file cannot be read, or no pipeline can be taken over.
pub async fn import(import: Import) -> Result<(), String> {
    let mut states = Vec::new();
    for path in &import.state {
        let text = std::fs::read_to_string(path).map_err(|e| format!("{}: {e}", path.display()))?;
        states.push(terraform::state(&text).map_err(|e| format!("{}: {e}", path.display()))?);
    }
    let metrics = Arc::<Metrics>::default();
    let aws = Aws::connect(aws_options(&import.shared, true), Arc::clone(&metrics)).await?;
    let (region, identity) = (aws.home().to_owned(), aws.identity().clone());
    let cloud = aws.cloud(None, &region).await;
    let failed = |e: crate::cloud::Error| format!("{} was refused: {}", e.call, e.message);

    let names = cloud.pipelines.list(Duration::ZERO).await.map_err(failed)?;
    let names = names
        .keys()
        .filter(|name| covers(&import.pipelines, name))
        .cloned()
        .collect::<Vec<_>>();
    let at = |base_name: &String| Placement {
        account: identity.account.clone(),
        partition: identity.partition.clone(),
        region: region.clone(),
        class: None,
        base_name: base_name.clone(),
    };
    let found = stream::iter(names)
        .map(|name| observe(&cloud, at(&name), name))
        .buffered(AT_ONCE);
    let found: Vec<Found> = found
        .try_filter_map(|f| async { Ok(f) })
        .try_collect()
        .await
        .map_err(failed)?;

    let (mut specs, mut left_out) = (Vec::new(), Vec::new());
    for found in found {
        match found.spec(&at(&found.name)) {
            Ok(spec) => specs.push((found, spec)),
            Err(why) => left_out.push(format!("# Left out: pipeline {}: {why}.", found.name)),
        }
    }
    left_out.iter().for_each(say);
    if specs.is_empty() {
        return Err(format!(
            "no pipeline in account {}, region {region}, can be taken over by a RepoFanout: \
                 the lines above say why each was left out. For pipelines elsewhere give another \
                 --region",
            identity.account
        ));
    }

    // The preview runs with the settings that the manifests need.
    let existing: BTreeSet<String> = specs
        .iter()
        .flat_map(|(found, _)| found.existing(&at(&found.name)))
        .collect();
    let mut settings = settings(
        &import.shared,
        import.shared.cluster_id.clone().unwrap_or_default(),
        &aws,
        true,
    );
    settings.allow_existing = existing.iter().cloned().collect();
    settings.allow_names = true;
    settings.require_class = false;
    let nowhere = "http://127.0.0.1:0"
        .parse()
        .map(Config::new)
        .map_err(|e| format!("{e}"))?;
    let client = Client::try_from(nowhere).map_err(|e| e.to_string())?;
    let env = snapshot::environment(client, aws, settings, metrics);

    let mut used: BTreeMap<String, usize> = BTreeMap::new();
    let mut objects = Vec::new();
    for (found, spec) in specs {
        let base = found.object_name();
        let times = used.entry(base.clone()).or_default();
        *times += 1;
        let name = if *times == 1 {
            base
        } else {
            format!("{base}-{times}")
        };
        let manifest = json!({
            "apiVersion": "repofanout.dev/v1alpha1", "kind": "RepoFanout",
            "metadata": {"name": name, "namespace": import.namespace}, "spec": spec,
        });
        let mut object: RepoFanout =
            serde_json::from_value(manifest.clone()).map_err(|e| format!("{name}: {e}"))?;
        object.metadata.creation_timestamp = Some(Time(Timestamp::now()));
        objects.push((found, manifest, object));
    }
    let known = objects
        .iter()
        .map(|(_, _, object)| object.clone())
        .collect();
    snapshot::fill(&env, known, Vec::new());
    let mut taken = BTreeSet::new();
    for (found, manifest, object) in objects {
        say("---");
        match reconcile::fanout::preview::preview(&env, &object).await {
            Ok(preview) if preview.changes_tags_alone() => {
                say(format!(
                    "# Applying it changes nothing of pipeline {} but tags, which name its owner.",
                    found.name
                ));
                taken.extend(found.taken());
            }
            Ok(preview) => {
                say(format!(
                    "# Applying it changes more than tags of pipeline {}:",
                    found.name
                ));
                preview
                    .to_string()
                    .lines()
                    .for_each(|line| say(format!("# {line}")));
                taken.extend(found.taken());
            }
            Err(stop) => say(format!(
                "# The operator would refuse it: {}",
                stop.describe()
            )),
        }
        if let Some(stack) = found.tags.get("aws:cloudformation:stack-name") {
            say(format!(
                "# CloudFormation stack {stack} created the pipeline. Set its DeletionPolicy and \
                     UpdateReplacePolicy to Retain in the template, update the stack, and then \
                     remove the pipeline from the template."
            ));
        }
        say(serde_saphyr::to_string(&manifest)
            .map_err(|e| e.to_string())?
            .trim_end());
    }
    say(
        "---\n# The operator must run with these flags; print its policy with the same ones \
             (`repofanout iam-policy`):",
    );
    say("#   --allow-names");
    existing
        .iter()
        .for_each(|arn| say(format!("#   --allow-existing={arn}")));
    let blocks = terraform::removed(&states, &taken);
    if !blocks.is_empty() {
        say(
            "# In the Terraform configuration, replace the resources with these blocks, and apply \
                 that before the manifests:",
        );
        blocks
            .iter()
            .flat_map(|block| block.lines())
            .for_each(|line| say(format!("#   {line}")));
    }
    Ok(())
}

/// Reads the pipeline, and the notification rule that announces its executions.
async fn observe(
    cloud: &Cloud,
    place: Placement,
    name: String,
) -> crate::cloud::Result<Option<Found>> {
    let arn = Computed::new(&place).pipeline_arn;
    let Some(pipeline) = cloud.pipelines.observe(&name, &arn).await? else {
        return Ok(None);
    };
    let rules = cloud.notification_rules.watching(&arn).await?;
    let rule = rules
        .into_iter()
        .find(|rule| rule.targets.iter().any(|t| t.kind == "SNS"));
    Ok(Some(Found {
        name,
        arn,
        declaration: pipeline.declaration,
        tags: pipeline.tags,
        rule,
    }))
}
