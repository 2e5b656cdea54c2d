//! `cargo xtask demo`: the main job, on real parts.

use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use tokio::io::{AsyncBufReadExt, BufReader};

use support::{Operator, OperatorConfig, Place, Result, World, build, until};

/// The account of the demos.
pub const ACCOUNT: &str = "111122223333";
/// The region of the demos.
pub const REGION: &str = "eu-west-1";
const NAMESPACE: &str = "team-docs";
const REPOSITORY: &str = "acme/docs";
const LIMIT: Duration = Duration::from_secs(60);

const MANIFEST: &str = "apiVersion: repofanout.dev/v1alpha1
kind: RepoFanout
metadata:
  name: docs
  namespace: team-docs
spec:
  repository: acme/docs
";

const MORE: &str = "  destination:
    prune: Enabled
  notifications:
    announce: true
    subscribers:
    - protocol: sqs
      endpoint: arn:aws:sqs:eu-west-1:111122223333:consumer
      rawMessageDelivery: true
      filterPolicy: {repository: [acme/docs]}
";

/// Runs it; with `keep` until Ctrl-C.
pub fn run(organization: bool, keep: bool, kubeconfig: Option<PathBuf>) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| e.to_string())?;
    runtime.block_on(async {
        // Ctrl-C ends the demo where it is; what it started ends with it.
        let story = async {
            if organization {
                crate::organization::show().await
            } else {
                show(keep, kubeconfig).await
            }
        };
        tokio::select! {
            result = story => result,
            _ = tokio::signal::ctrl_c() => Err("ended by Ctrl-C".to_owned()),
        }
    })
}

/// A headline.
pub fn say(text: &str) {
    println!("\n\x1b[1m# {text}\x1b[0m");
}

/// An aside.
pub fn note(text: &str) {
    eprintln!("  {text}");
}

async fn show(keep: bool, kubeconfig: Option<PathBuf>) -> Result<()> {
    let started = Instant::now();
    say("Building the operator, and starting a Kubernetes API and AWS endpoints on this machine");
    let program = build(false)?;
    let world = World::start_at(&kubeconfig.map_or(Place::Loopback, Place::Existing), note).await?;
    world.install_crds().await?;

    world.repositories.create(REPOSITORY).await?;
    let files = [
        ("README.md", Some("# Docs of Acme\n")),
        ("guide/start.md", Some("Start here.\n")),
    ];
    world
        .repositories
        .push(REPOSITORY, "main", &files, "Write the first page")
        .await?;
    world
        .cluster
        .apply(&format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {NAMESPACE}}}\n"
        ))
        .await?;
    let config = OperatorConfig {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        namespace: NAMESPACE.to_owned(),
        flags: ["--cluster-id=demo", "--poll-interval=1s", "--allow-prune"]
            .map(str::to_owned)
            .into(),
        kubeconfig: None,
    };
    let operator = Operator::start(&world, &program, &config)?;
    let demo = Demo { world: &world };

    say("One manifest");
    print!("{MANIFEST}");
    world.cluster.apply(MANIFEST).await?;
    demo.wait(
        r#"{.status.conditions[?(@.type=="Ready")].reason}"#,
        "ConnectionPending",
    )
    .await?;
    demo.table().await?;

    say("The one thing that a person does, once per organization");
    println!(
        "{}",
        demo.get(r#"{.status.conditions[?(@.type=="Ready")].message}"#)
            .await?
    );
    let connection = demo.get("{.status.connection.arn}").await?;
    note("(the demo clicks for you)");
    world.aws.authorize(&connection)?;

    say("From here on it works by itself");
    demo.wait(r#"{.status.conditions[?(@.type=="Ready")].status}"#, "True")
        .await?;
    demo.table().await?;

    say("A queue subscribes to the topic, as any service may");
    let queue = demo.subscribe().await?;
    println!("{queue}");

    say("Somebody pushes a commit");
    let change = [("guide/start.md", Some("Start here, then read on.\n"))];
    let commit = world
        .repositories
        .push(REPOSITORY, "main", &change, "Say what comes next")
        .await?;
    println!("{} Say what comes next", &commit[..7]);
    demo.wait("{.status.delivered.commit.id}", &commit).await?;
    demo.table().await?;

    say("The file is in the bucket");
    let (bucket, prefix) = (
        demo.get("{.status.delivered.bucket}").await?,
        demo.get("{.status.delivered.prefix}").await?,
    );
    println!("s3://{bucket}/{prefix}/guide/start.md");
    let content = world
        .aws
        .s3(
            ACCOUNT,
            REGION,
            "GET",
            &format!("/{bucket}/{prefix}/guide/start.md"),
            "",
        )
        .await?;
    print!("{content}");
    if content != "Start here, then read on.\n" {
        return Err("the bucket does not hold what was pushed".to_owned());
    }

    say("The announcement is in the queue");
    println!("{}", demo.receive(&queue).await?);
    demo.consumer(&bucket, &prefix).await?;
    println!("\nDone in {:.1} s.", started.elapsed().as_secs_f32());
    if keep {
        say("It stays until you press Ctrl-C");
        println!("export KUBECONFIG={}", world.cluster.kubeconfig.display());
        println!(
            "export AWS_ENDPOINT_URL=http://{} AWS_REGION={REGION}",
            world.aws.address
        );
        println!("export AWS_ACCESS_KEY_ID={ACCOUNT} AWS_SECRET_ACCESS_KEY=secret");
        println!(
            "git clone {}",
            world.repositories.path(REPOSITORY).display()
        );
        println!("the operator's log: {}", operator.log.display());
        tokio::signal::ctrl_c().await.map_err(|e| e.to_string())?;
    }
    // The object's end is part of the story, and a cluster that exists is left without it.
    world
        .cluster
        .kubectl(&["delete", "rf", "docs", "-n", NAMESPACE])
        .await?;
    let ended = operator.stop().await?;
    if ended.success() {
        Ok(())
    } else {
        Err(format!("the operator ended with {ended}"))
    }
}

struct Demo<'a> {
    world: &'a World,
}

impl Demo<'_> {
    async fn get(&self, path: &str) -> Result<String> {
        self.world.cluster.field(NAMESPACE, "docs", path).await
    }

    async fn wait(&self, path: &str, value: &str) -> Result<()> {
        self.world
            .cluster
            .wait_field(NAMESPACE, "docs", path, value)
            .await
    }

    async fn table(&self) -> Result<()> {
        println!("$ kubectl get rf -n {NAMESPACE}");
        print!(
            "{}",
            self.world
                .cluster
                .kubectl(&["get", "rf", "-n", NAMESPACE])
                .await?
        );
        Ok(())
    }

    /// Makes a queue that the topic may send to, and subscribes it.
    async fn subscribe(&self) -> Result<String> {
        let topic = self.get("{.status.topicARN}").await?;
        self.world
            .aws
            .subscribe_queue(ACCOUNT, REGION, &topic, "readers")
            .await
    }

    /// A consumer follows the copy; a file that should never have been there is removed, and is
    /// gone from the bucket too.
    async fn consumer(&self, bucket: &str, prefix: &str) -> Result<()> {
        let Self { world } = self;
        say("More is asked for: removed files are pruned, and a consumer hears of each delivery");
        print!("{MORE}");
        let create = [
            ("Action", "CreateQueue"),
            ("Version", "2012-11-05"),
            ("QueueName", "consumer"),
        ];
        world.aws.form(ACCOUNT, REGION, "sqs", &create).await?;
        world.cluster.apply(&format!("{MANIFEST}{MORE}")).await?;
        self.wait(
            r#"{.status.conditions[?(@.type=="Subscribed")].status}"#,
            "True",
        )
        .await?;
        let python = tokio::task::spawn_blocking(|| support::boto3(note))
            .await
            .map_err(|e| e.to_string())??;
        let copy = support::Scratch::new()?;
        let queue = format!("http://{}/{ACCOUNT}/consumer", world.aws.address);
        let mut consumer = tokio::process::Command::new(python)
            .arg(support::root().join("deploy/samples/consumer.py"))
            .arg(queue)
            .arg(copy.path())
            .env("AWS_ENDPOINT_URL", format!("http://{}", world.aws.address))
            .env("AWS_REGION", REGION)
            .env("AWS_DEFAULT_REGION", REGION)
            .env("AWS_ACCESS_KEY_ID", ACCOUNT)
            .env("AWS_SECRET_ACCESS_KEY", "secret")
            .env("NO_PROXY", "127.0.0.1")
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| format!("the consumer: {e}"))?;
        let mut lines = BufReader::new(consumer.stdout.take().expect("it is piped")).lines();

        say("A secret slips in, and is removed");
        let object = format!("/{bucket}/{prefix}/.env");
        for (content, message) in [
            (Some("TOKEN=hush\n"), "Add the settings"),
            (None, "Remove the secret"),
        ] {
            let commit = world
                .repositories
                .push(REPOSITORY, "main", &[(".env", content)], message)
                .await?;
            println!("{} {message}", &commit[..7]);
            let line = tokio::time::timeout(LIMIT, async {
                while let Some(line) = lines.next_line().await.map_err(|e| e.to_string())? {
                    // What was delivered before it subscribed is none of it.
                    if line.starts_with(&commit[..7]) {
                        return Ok(line);
                    }
                }
                Err("the consumer ended".to_owned())
            });
            println!(
                "consumer: {}",
                line.await
                    .map_err(|_| "the consumer heard of nothing".to_owned())??
            );
            let there = world
                .aws
                .s3(ACCOUNT, REGION, "GET", &object, "")
                .await
                .is_ok();
            println!("s3:/{object} is {}", if there { "there" } else { "gone" });
            if there != content.is_some() || copy.path().join(".env").exists() != content.is_some()
            {
                return Err("bucket or copy is not what was pushed".to_owned());
            }
        }
        println!(
            "{}",
            self.get(r#"{.status.conditions[?(@.type=="Pruned")].message}"#)
                .await?
        );
        Ok(())
    }

    async fn receive(&self, queue: &str) -> Result<String> {
        until(LIMIT, || async {
            let messages = self.world.aws.receive(ACCOUNT, REGION, queue).await?;
            messages
                .into_iter()
                .next()
                .ok_or_else(|| "the queue is empty".to_owned())
        })
        .await
    }
}
