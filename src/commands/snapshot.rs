//! An environment for previews. It knows the objects that it is given, in place of a watch.

use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use kube::core::DeserializeGuard;
use kube::runtime::reflector;
use kube::runtime::watcher::Event;
use tokio::sync::mpsc;

use crate::api::{RepoFanout, RepoFanoutClass};
use crate::aws::Aws;
use crate::domain::execution::StageLimits;
use crate::domain::settings::Settings;
use crate::metrics::Metrics;
use crate::state::environment::{Environment, Pace};
use crate::state::fleet::{Guarded, Served};

/// An environment that knows no object yet.
pub fn environment(
    client: Client,
    aws: Aws,
    settings: Settings,
    metrics: Arc<Metrics>,
) -> Environment {
    let identity = aws.identity().clone();
    let pace = Pace {
        idle: Duration::from_secs(60),
        close: Duration::from_secs(5),
        settle: Duration::ZERO,
        stuck: Duration::from_secs(900),
        stages: StageLimits {
            source: Duration::from_secs(30 * 60),
            deploy: Duration::from_secs(100 * 60),
        },
    };
    Environment::new(client, Arc::new(aws), identity, settings, pace, metrics)
}

/// Makes these objects the whole content of the cluster.
pub fn fill(env: &Environment, fanouts: Vec<RepoFanout>, classes: Vec<RepoFanoutClass>) {
    let (reader, mut writer) = reflector::store();
    write(&mut writer, fanouts);
    let wake = mpsc::unbounded_channel().0;
    env.fleet.serve(Served {
        store: reader,
        wake,
    });
    let (reader, mut writer) = reflector::store();
    write(&mut writer, classes);
    env.catalog.follow_classes(reader);
}

fn write<K>(writer: &mut reflector::store::Writer<Guarded<K>>, objects: Vec<K>)
where
    K: kube::Resource<DynamicType = ()> + Clone + 'static,
{
    writer.apply_watcher_event(&Event::Init);
    for object in objects {
        writer.apply_watcher_event(&Event::InitApply(DeserializeGuard(Ok(object))));
    }
    writer.apply_watcher_event(&Event::InitDone);
}
