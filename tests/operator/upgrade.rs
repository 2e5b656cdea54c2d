//! An operator that takes over from one of an earlier revision leaves the world as that one made
//! it.

use std::collections::{BTreeMap, BTreeSet};

use repofanout::api::status::RepoFanoutStatus;
use serde_json::{Value, json};
use support::{BEFORE, former, until};

use crate::before::run_command;
use crate::case::{Case, LIMIT, condition, is_true, present, world};
use crate::classes::shared_spec;
use crate::import::{create_by_hand, flags, manifests};
use crate::readers::{readable_arns, statements};

const READER: &str = "777788889999";
/// Fan-outs on the class.
const SHARED: usize = 10;
const RECONCILE: &str = "repofanout.dev/reconcile-requested-at";

/// The objects that the earlier operator served.
struct Made {
    class: String,
    fanouts: Vec<String>,
    repository: String,
}

/// The facts that stay the same while an operator finds everything as desired: the number of calls
/// of each operation that writes to AWS, the executions of each pipeline, and for each object its
/// version, which changes with every write, the fields of its status, and the number of its Events.
type Kept = BTreeMap<String, Value>;

async fn kept(case: &Case, made: &Made) -> Kept {
    let mut kept = Kept::new();
    for write in case.writes() {
        let count = kept.entry(write).or_insert(json!(0));
        *count = json!(count.as_u64().unwrap() + 1);
    }
    for pipeline in case.aws().pipelines(&case.account).into_keys() {
        let executions = case.aws().executions(&case.account, &pipeline);
        kept.insert(format!("executions of {pipeline}"), json!(executions));
    }
    let mut objects = vec![json!(case.classes().get(&made.class).await.unwrap())];
    for name in &made.fanouts {
        objects.push(json!(case.get(name).await));
        let events = case.events(name).await.len();
        kept.insert(format!("{name}: events"), json!(events));
    }
    for object in objects {
        let name = object["metadata"]["name"].as_str().unwrap();
        let version = object["metadata"]["resourceVersion"].clone();
        kept.insert(format!("{name}: version"), version);
        for (field, value) in object["status"].as_object().unwrap() {
            kept.insert(format!("{name}: status.{field}"), value.clone());
        }
    }
    kept
}

/// The differences between them.
fn changes(before: &Kept, after: &Kept) -> Vec<String> {
    let all: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    all.into_iter()
        .filter(|key| before.get(*key) != after.get(*key))
        .map(|key| format!("{key}: {:?} → {:?}", before.get(key), after.get(key)))
        .collect()
}

/// How often an operation was called so far.
fn calls(case: &Case, operation: &str) -> usize {
    let calls = case.aws().calls(&case.account);
    calls.iter().filter(|c| c.operation == operation).count()
}

/// Changes files of the repository in one commit.
async fn commit(repository: &str, files: &[(&str, Option<&str>)]) -> String {
    let pushed = world()
        .repositories
        .push(repository, "main", files, "Change");
    pushed.await.unwrap()
}

/// Takes a pipeline in that somebody made by hand, as `import` says; tells the object's name.
async fn adopted(case: &mut Case, repository: &str) -> (String, Value) {
    case.grant(case.chart_rbac()).await;
    create_by_hand(case, "team-site", repository, 2).await;
    let namespace = format!("--namespace={}", case.namespace);
    let (ok, printed) =
        run_command(case, &["import", "--cluster-id=tests", &namespace], None).await;
    let [manifest] = &manifests(&printed)[..] else {
        panic!("{printed}")
    };
    assert!(ok, "{printed}");
    case.add_flags(&flags(&printed).iter().map(|f| &**f).collect::<Vec<_>>());
    let name = manifest["metadata"]["name"].as_str().unwrap().to_owned();
    (name, manifest["spec"].clone())
}

/// Fan-outs without a class, each with resources of its own: bare, with files pruned, with readers,
/// with a subscriber, and with whatever else a spec may say.
async fn alone(case: &Case, repository: &str) -> Vec<(&'static str, Value)> {
    let (_, queue) = case.create_queue(&format!("mine-{}", case.namespace)).await;
    let subscriber = json!({
        "protocol": "sqs", "endpoint": queue, "rawMessageDelivery": true, "filterPolicy": {"branch": ["main"]},
    });
    vec![
        ("bare", json!({"repository": repository})),
        (
            "pruned",
            json!({"repository": repository, "destination": {"prune": "Enabled"}}),
        ),
        (
            "read",
            json!({"repository": repository, "destination": {"readers": [{"account": READER}]}}),
        ),
        (
            "heard",
            json!({"repository": repository, "notifications": {"announce": true, "subscribers": [subscriber]}}),
        ),
        (
            "chosen",
            json!({
                "repository": repository, "drift": "Detect", "tags": {"team": "docs"},
                "artifacts": {"retentionDays": 7}, "deletion": {"default": "Retain"},
                "notifications": {"detail": "FULL"}, "pipeline": {"executionMode": "SUPERSEDED"},
            }),
        ),
    ]
}

/// A fan-out on the class; a full look comes every minute, which is the least that may be said.
fn on_class(class: &str, repository: &str, n: usize) -> Value {
    let destination = match n {
        0 => json!({"readers": [{"account": READER}]}),
        1 => json!({"prune": "Enabled"}),
        _ => json!({}),
    };
    json!({
        "repository": repository, "className": class, "interval": "1m", "destination": destination,
        "notifications": {"announce": n == 2},
    })
}

/// Makes the world, and has it deliver twice: the second time without a file of the first.
async fn make(case: &mut Case) -> Made {
    let (repository, _) = case.create_repository().await;
    let first = commit(&repository, &[("old.txt", Some("old\n"))]).await;
    let (name, spec) = adopted(case, &repository).await;
    case.start().await;
    case.apply(&name, spec).await.unwrap();
    let mut fanouts = vec![name];
    for (name, spec) in alone(case, &repository).await {
        case.apply(name, spec).await.unwrap();
        case.authorize(name).await;
        fanouts.push(name.to_owned());
    }
    let class = case.class_name("org");
    let mut spec = shared_spec(case);
    spec["allowedReaders"] = json!([READER]);
    spec["destination"] = json!({"prefixTemplate": "{namespace}/{name}"});
    case.create_ready_class(&class, spec).await;
    for n in 0..SHARED {
        let name = format!("shared-{n}");
        let spec = on_class(&class, &repository, n);
        case.apply(&name, spec).await.unwrap();
        fanouts.push(name);
    }
    for name in &fanouts {
        case.wait_delivered(name, &first).await;
    }
    let second = commit(
        &repository,
        &[("old.txt", None), ("new.txt", Some("new\n"))],
    )
    .await;
    for name in &fanouts {
        case.wait_delivered(name, &second).await;
    }
    Made {
        class,
        fanouts,
        repository,
    }
}

/// The world is what it was made for: otherwise it would prove little that nothing is written.
async fn whole(case: &Case, made: &Made) {
    for (name, old) in [
        ("bare", Some("old\n")),
        ("pruned", None),
        ("shared-1", None),
    ] {
        let pruned = |s: &_| condition(s, "Pruned").is_none_or(|c| c.reason == "Pruned");
        let status = case.wait(name, "not pruned", pruned).await;
        assert_eq!(
            case.file(&status, "old.txt").await.as_deref(),
            old,
            "{name}"
        );
        assert_eq!(
            case.file(&status, "new.txt").await.as_deref(),
            Some("new\n")
        );
    }
    for name in ["read", "shared-0"] {
        let bucket = case.status(name).await.delivered.unwrap().bucket;
        assert_eq!(
            readable_arns(&statements(case, &bucket).await).len(),
            1,
            "{name}"
        );
    }
    let told = |s: &_| is_true(s, "Subscribed");
    case.wait("heard", "not subscribed", told).await;
    for name in ["heard", "shared-2"] {
        case.wait(name, "not announced", |s| s.announced.is_some())
            .await;
    }
    case.wait_class(&made.class, "not counted", |s| {
        let used = |what: &str| usize::try_from(s.quotas[what].used).unwrap();
        let all = made.fanouts.len();
        is_true(s, "Ready")
            && s.fanouts == Some(i32::try_from(SHARED).unwrap())
            && (used("pipelines"), used("notification_rules")) == (all, all)
    })
    .await;
}

/// Waits until nothing is written while each pipeline that nobody tells of is looked at ten times.
async fn at_rest(case: &Case, made: &Made) -> Kept {
    let polled = made.fanouts.len() - SHARED;
    let looks = || calls(case, "codepipeline:ListPipelineExecutions");
    let rested = until(LIMIT, || async {
        let (before, looked) = (kept(case, made).await, looks());
        until(LIMIT, || async {
            match looks() - looked {
                n if n >= 10 * polled => Ok(()),
                n => Err(format!("{n} looks of {}", 10 * polled)),
            }
        })
        .await?;
        let after = kept(case, made).await;
        match changes(&before, &after) {
            none if none.is_empty() => Ok(after),
            some => Err(format!("not at rest: {some:#?}")),
        }
    });
    rested
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", case.log()))
}

/// Waits until an operation was called so often.
async fn called(case: &Case, operation: &str, times: usize) {
    let asked = until(LIMIT * 2, || async {
        match calls(case, operation) {
            n if n >= times => Ok(()),
            n => Err(format!("{n} of {times} {operation}")),
        }
    });
    asked
        .await
        .unwrap_or_else(|e| panic!("{e}\n{}", case.log()));
}

#[tokio::test]
async fn a_world_made_by_the_tree_before_is_taken_up_without_a_write() {
    let built = || former(BEFORE, false, None, |line| eprintln!("{line}"));
    let program = tokio::task::spawn_blocking(built).await.unwrap().unwrap();
    // Beside all other tests a Lease of two seconds would be lost; and AWS's rates would make the
    // many looks slow.
    let flags = [
        "--allow-prune",
        &format!("--allow-readers={READER}"),
        "--leader-elect=false",
        "--aws-rate=*=1000",
    ];
    let mut case = Case::without_operator("upgrade", &flags).await;
    case.serve_own_classes();
    case.program = program;
    let made = make(&mut case).await;
    // A class counts what its fan-outs made once a minute, and when its operator starts.
    case.operator.take().unwrap().stop().await.unwrap();
    case.start().await;
    whole(&case, &made).await;
    at_rest(&case, &made).await;
    case.operator.take().unwrap().stop().await.unwrap();
    let before = kept(&case, &made).await;

    // Every pipeline is read, with all that belongs to it: those of the class by and by, as their
    // intervals end.
    case.program = present();
    let (pipelines, class) = ("codepipeline:GetPipeline", "iam:GetAccountSummary");
    let (read, counted) = (calls(&case, pipelines), calls(&case, class));
    case.start().await;
    called(&case, class, counted + 1).await;
    called(&case, pipelines, read + made.fanouts.len()).await;
    let changed = changes(&before, &at_rest(&case, &made).await);
    assert!(changed.is_empty(), "{changed:#?}");

    // That each was looked at, and none twice in another's place, only the objects can tell: they
    // echo what they are asked, and nothing else changes.
    for name in &made.fanouts {
        case.annotate(name, RECONCILE, "taken").await;
    }
    for name in &made.fanouts {
        let looked = |s: &RepoFanoutStatus| s.last_handled_reconcile_at.as_deref() == Some("taken");
        case.wait(name, "not looked at", looked).await;
    }
    let mut changed = changes(&before, &at_rest(&case, &made).await);
    for name in &made.fanouts {
        let echo = ["version", "status.lastHandledReconcileAt"].map(|f| format!("{name}: {f}: "));
        changed.retain(|change| !echo.iter().any(|e| change.starts_with(e)));
    }
    assert!(changed.is_empty(), "{changed:#?}");

    let pushed = commit(&made.repository, &[("more.txt", Some("more\n"))]).await;
    for name in &made.fanouts {
        case.wait_delivered(name, &pushed).await;
    }
}
