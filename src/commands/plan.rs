//! `repofanout plan`: shows what the operator would write to AWS for a manifest.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{ListParams, PostParams};
use kube::{Api, Client, Config, Resource, ResourceExt};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::api::{RepoFanout, RepoFanoutClass};
use crate::aws::Aws;
use crate::cli::Plan;
use crate::commands::{aws_options, client, cluster_id, say, settings, snapshot};
use crate::metrics::Metrics;
use crate::reconcile;
use crate::reconcile::preview::Preview;
use crate::state::stop::Stop;

/// The objects of a manifest.
#[derive(Default)]
struct Manifest {
    fanouts: Vec<RepoFanout>,
    classes: Vec<RepoFanoutClass>,
}

/// Prints what the operator would write.
///
/// # Errors
/// The manifest cannot be read, the API server or AWS does not answer, or something is refused.
pub async fn plan(plan: Plan) -> Result<(), String> {
    let mut manifest = read(&plan.file, &plan.namespace)?;
    let nowhere = || {
        "http://127.0.0.1:0"
            .parse()
            .map(Config::new)
            .map_err(|e| format!("{e}"))
    };
    let client = match plan.offline {
        true => Client::try_from(nowhere()?).map_err(|e| e.to_string())?,
        false => client().await?,
    };
    let cluster_id = cluster_id(&plan.shared, &client).await?;
    let (mut fanouts, mut classes) = (Vec::new(), Vec::new());
    if !plan.offline {
        for fanout in &mut manifest.fanouts {
            let api = Api::namespaced(client.clone(), &fanout.namespace().unwrap_or_default());
            *fanout = accepted(&api, fanout).await?;
        }
        for class in &mut manifest.classes {
            *class = accepted(&Api::all(client.clone()), class).await?;
        }
        fanouts = list(Api::all(client.clone())).await?;
        classes = list(Api::all(client.clone())).await?;
    }
    // Objects of the manifest replace those of the cluster.
    fanouts.retain(|f: &RepoFanout| !manifest.fanouts.iter().any(|m| same(m, f)));
    fanouts.extend(manifest.fanouts.iter().cloned());
    classes.retain(|c: &RepoFanoutClass| !manifest.classes.iter().any(|m| same(m, c)));
    classes.extend(manifest.classes.iter().cloned());

    let metrics = Arc::<Metrics>::default();
    let aws = Aws::connect(aws_options(&plan.shared, true), Arc::clone(&metrics)).await?;
    let settings = settings(&plan.shared, cluster_id, &aws, true);
    let env = snapshot::environment(client, aws, settings, metrics);
    snapshot::fill(&env, fanouts, classes);

    let mut refused = 0;
    for class in &manifest.classes {
        refused += print(
            &format!("RepoFanoutClass {}", class.name_any()),
            reconcile::class::preview::preview(&env, class).await,
        );
    }
    for fanout in &manifest.fanouts {
        let name = format!(
            "RepoFanout {}/{}",
            fanout.namespace().unwrap_or_default(),
            fanout.name_any()
        );
        refused += print(
            &name,
            reconcile::fanout::preview::preview(&env, fanout).await,
        );
    }
    if refused == 0 {
        Ok(())
    } else {
        Err(format!(
            "{refused} objects of the manifest would be refused"
        ))
    }
}

/// Prints the preview of an object. Returns 1 if the object would be refused, and 0 otherwise.
fn print(name: &str, preview: Result<Preview, Stop>) -> usize {
    match preview {
        Ok(preview) => {
            say(format!("{name} {preview}").trim_end());
            usize::from(preview.is_refused())
        }
        Err(stop @ Stop::Wait(..)) => {
            say(format!("{name}\n  waits for {}", stop.describe()));
            0
        }
        Err(stop) => {
            say(format!("{name}\n  ! {}", stop.describe()));
            1
        }
    }
}

fn same<K: Resource>(a: &K, b: &K) -> bool {
    (a.meta().namespace.as_ref(), a.meta().name.as_ref())
        == (b.meta().namespace.as_ref(), b.meta().name.as_ref())
}

fn read(path: &Path, namespace: &str) -> Result<Manifest, String> {
    let shown = path.display();
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .map_err(|e| format!("standard input: {e}"))?;
    } else {
        text = std::fs::read_to_string(path).map_err(|e| format!("{shown}: {e}"))?;
    }
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&text).map_err(|e| format!("{shown}: {e}"))?;
    let mut manifest = Manifest::default();
    for mut document in documents.into_iter().filter(|d| !d.is_null()) {
        let kind = document["kind"].as_str().unwrap_or_default().to_owned();
        let version = document["apiVersion"]
            .as_str()
            .unwrap_or_default()
            .to_owned();
        if version != RepoFanout::api_version(&()) {
            return Err(format!(
                "{shown}: {version} {kind} does not belong to {}; leave it out",
                RepoFanout::api_version(&())
            ));
        }
        if kind == "RepoFanout" && document["spec"]["branch"].is_null() {
            // The API server's default, which `--offline` has to fill in itself.
            document["spec"]["branch"] = "main".into();
        }
        let failed = |e: serde_json::Error| format!("{shown}: {kind}: {e}");
        match &*kind {
            "RepoFanout" => {
                let mut fanout: RepoFanout = serde_json::from_value(document).map_err(failed)?;
                fanout
                    .metadata
                    .namespace
                    .get_or_insert_with(|| namespace.to_owned());
                fanout
                    .metadata
                    .creation_timestamp
                    .get_or_insert(Time(Timestamp::now()));
                manifest.fanouts.push(fanout);
            }
            "RepoFanoutClass" => manifest
                .classes
                .push(serde_json::from_value(document).map_err(failed)?),
            _ => {
                return Err(format!(
                    "{shown}: {version} has no kind {kind}; write RepoFanout or RepoFanoutClass"
                ));
            }
        }
    }
    if manifest.fanouts.is_empty() && manifest.classes.is_empty() {
        return Err(format!(
            "{shown}: the manifest has no RepoFanout and no RepoFanoutClass"
        ));
    }
    Ok(manifest)
}

/// The object as the API server would store it, from a dry run. The API server refuses what its
/// schema refuses.
async fn accepted<K>(api: &Api<K>, object: &K) -> Result<K, String>
where
    K: Resource<DynamicType = ()> + Clone + Serialize + DeserializeOwned + std::fmt::Debug,
{
    let name = object.name_any();
    let dry = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let mut object = object.clone();
    object.meta_mut().creation_timestamp = None;
    let live = api
        .get_opt(&name)
        .await
        .map_err(|e| format!("{} {name}: {e}", K::kind(&())))?;
    let answer = match live {
        None => api.create(&dry, &object).await,
        Some(live) => {
            let Value::Object(mut next) = serde_json::to_value(&live).map_err(|e| e.to_string())?
            else {
                return Err(format!("{} {name} is not a JSON object", K::kind(&())));
            };
            let wanted = serde_json::to_value(&object).map_err(|e| e.to_string())?;
            next.insert("spec".to_owned(), wanted["spec"].clone());
            let next: K = serde_json::from_value(Value::Object(next)).map_err(|e| e.to_string())?;
            api.replace(&name, &dry, &next).await
        }
    };
    answer.map_err(|e| match e {
        kube::Error::Api(status) => status.message.clone(),
        other => format!("{} {name}: {other}", K::kind(&())),
    })
}

async fn list<K>(api: Api<K>) -> Result<Vec<K>, String>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug,
{
    let listed = api.list(&ListParams::default()).await;
    Ok(listed.map_err(|e| format!("{}: {e}", K::kind(&())))?.items)
}
