//! Checks the CustomResourceDefinitions of the cluster. A schema newer than this program's is fine;
//! with an older one, the API server would drop fields that the program writes.

use futures::StreamExt;
use futures::future::join;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::wait::{await_condition, conditions::is_crd_established};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Api, CustomResourceExt};
use tracing::{error, info, warn};

use crate::api;
use crate::api::{RepoFanout, RepoFanoutClass};
use crate::runtime::operator::Operator;

/// Waits until both resources are established, and logs while it waits.
pub async fn established(operator: &Operator) {
    for name in [RepoFanoutClass::crd_name(), RepoFanout::crd_name()] {
        let api: Api<CustomResourceDefinition> = Api::all(operator.env.client.clone());
        while let Err(error) = await_condition(api.clone(), name, is_crd_established()).await {
            warn!(%error, "cannot read CustomResourceDefinition {name}; trying again");
        }
    }
}

/// Watches both CustomResourceDefinitions for ever: the gate closes while one is older than this
/// program, and opens again once it is not.
pub async fn follow(operator: &Operator) {
    join(
        follow_one(operator, RepoFanoutClass::crd_name()),
        follow_one(operator, RepoFanout::crd_name()),
    )
    .await;
}

async fn follow_one(operator: &Operator, name: &'static str) {
    let api: Api<CustomResourceDefinition> = Api::all(operator.env.client.clone());
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let events = watcher(api, config).default_backoff();
    futures::pin_mut!(events);
    let mut listed = false;
    while let Some(event) = events.next().await {
        let crd = match event {
            Ok(watcher::Event::Apply(crd) | watcher::Event::InitApply(crd)) => Some(crd),
            Ok(watcher::Event::Delete(_)) => None,
            Ok(watcher::Event::Init) => {
                listed = false;
                continue;
            }
            Ok(watcher::Event::InitDone) if listed => continue,
            Ok(watcher::Event::InitDone) => None,
            Err(error) => {
                warn!(%error, "the watch of CustomResourceDefinition {name} was interrupted and is being restarted");
                continue;
            }
        };
        listed = true;
        let problem = api::unusable(name, crd.as_ref());
        if let Some(problem) = &problem {
            error!("{problem}");
        }
        if operator.gate.schema(name, problem) {
            info!("the cluster's schema is usable");
            operator.env.wake_all();
        }
    }
}
