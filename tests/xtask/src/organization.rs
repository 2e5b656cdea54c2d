//! `cargo xtask demo --organization`: one class, ten repositories, one authorization.

use std::time::{Duration, Instant};

use support::{Operator, OperatorConfig, Result, World, build, until};

use crate::demo::{ACCOUNT, REGION, note, say};

const TEAMS: [&str; 2] = ["team-web", "team-docs"];
const STRANGER: &str = "team-stranger";
const LIMIT: Duration = Duration::from_secs(60);

const CLASS: &str = "apiVersion: repofanout.dev/v1alpha1
kind: RepoFanoutClass
metadata:
  name: acme
  annotations:
    repofanout.dev/is-default-class: \"true\"
spec:
  artifacts: {}
  destination: {}
  pipelineRole: Shared
  topic: Shared
  connections:
    acme: {owner: acme}
  allowedNamespaces:
    selector: {matchLabels: {fan-out: allowed}}
  allowedRepositories: [acme/*]
";

/// The story, on a world of its own.
pub async fn show() -> Result<()> {
    let started = Instant::now();
    say("Building the operator, and starting a Kubernetes API and AWS endpoints on this machine");
    let program = build(false)?;
    let world = World::start(note).await?;
    world.install_crds().await?;
    for (namespace, label) in [
        (TEAMS[0], "allowed"),
        (TEAMS[1], "allowed"),
        (STRANGER, "no"),
    ] {
        let manifest = format!(
            "apiVersion: v1\nkind: Namespace\nmetadata: {{name: {namespace}, labels: {{fan-out: \"{label}\"}}}}\n"
        );
        world.cluster.apply(&manifest).await?;
    }
    let served = [TEAMS[0], TEAMS[1], STRANGER].map(|n| format!("--watch-namespace={n}"));
    let flags = ["--cluster-id=demo", "--poll-interval=1s"]
        .map(str::to_owned)
        .into_iter()
        .chain(served)
        .collect();
    let config = OperatorConfig {
        account: ACCOUNT.to_owned(),
        region: REGION.to_owned(),
        namespace: TEAMS[0].to_owned(),
        flags,
        kubeconfig: None,
    };
    let operator = Operator::start(&world, &program, &config)?;

    say("The platform team applies one class");
    print!("{CLASS}");
    world.cluster.apply(CLASS).await?;
    wait_class(&world, "{.status.connections.acme.status}", "PENDING").await?;

    say("Two teams apply ten manifests of four lines");
    let mut commits = Vec::new();
    for n in 0..10 {
        let (team, repository) = (TEAMS[n % 2], format!("acme/site-{n}"));
        world.repositories.create(&repository).await?;
        let content = format!("Site {n} of Acme\n");
        commits.push(
            world
                .repositories
                .push(
                    &repository,
                    "main",
                    &[("index.md", Some(&content))],
                    "Write the first page",
                )
                .await?,
        );
        world
            .cluster
            .apply(&fanout(team, &format!("site-{n}"), &repository))
            .await?;
    }
    print!("{}", fanout(TEAMS[0], "site-0", "acme/site-0"));
    table(&world, &["get", "rfc"]).await?;

    say("The one thing that a person does, for all of them");
    println!(
        "{}",
        class_field(
            &world,
            r#"{.status.conditions[?(@.type=="Ready")].message}"#
        )
        .await?
    );
    note("(the demo clicks for you)");
    world
        .aws
        .authorize(&class_field(&world, "{.status.connections.acme.arn}").await?)?;
    for (n, commit) in commits.iter().enumerate() {
        let (team, name) = (TEAMS[n % 2], format!("site-{n}"));
        world
            .cluster
            .wait_field(team, &name, "{.status.delivered.commit.id}", commit)
            .await?;
        world
            .cluster
            .wait_field(
                team,
                &name,
                r#"{.status.conditions[?(@.type=="Ready")].status}"#,
                "True",
            )
            .await?;
    }
    table(&world, &["get", "rf", "-A"]).await?;
    table(&world, &["get", "rfc"]).await?;

    say("Ten copies in one bucket");
    let bucket = world
        .cluster
        .field(TEAMS[0], "site-0", "{.status.delivered.bucket}")
        .await?;
    for n in 0..10 {
        let prefix = world
            .cluster
            .field(
                TEAMS[n % 2],
                &format!("site-{n}"),
                "{.status.delivered.prefix}",
            )
            .await?;
        let found = world
            .aws
            .s3(
                ACCOUNT,
                REGION,
                "GET",
                &format!("/{bucket}/{prefix}/index.md"),
                "",
            )
            .await?;
        if found != format!("Site {n} of Acme\n") {
            return Err(format!(
                "s3://{bucket}/{prefix}/index.md does not hold what was pushed"
            ));
        }
        println!("s3://{bucket}/{prefix}/index.md");
    }
    let connections = world.aws.connections(ACCOUNT).len();
    println!(
        "{connections} connection, {} pipelines",
        world.aws.pipelines(ACCOUNT).len()
    );

    say("Who is not allowed is told so, and nothing is made");
    world
        .cluster
        .apply(&fanout(STRANGER, "site", "acme/site-0"))
        .await?;
    let stalled = r#"{.status.conditions[?(@.type=="Stalled")].reason}"#;
    world
        .cluster
        .wait_field(STRANGER, "site", stalled, "NotAllowed")
        .await?;
    let told = r#"{.status.conditions[?(@.type=="Stalled")].message}"#;
    println!("{}", world.cluster.field(STRANGER, "site", told).await?);
    if connections != 1 || world.aws.pipelines(ACCOUNT).len() != 10 {
        return Err("there are not one connection and ten pipelines".to_owned());
    }
    println!("\nDone in {:.1} s.", started.elapsed().as_secs_f32());
    let ended = operator.stop().await?;
    if ended.success() {
        Ok(())
    } else {
        Err(format!("the operator ended with {ended}"))
    }
}

fn fanout(namespace: &str, name: &str, repository: &str) -> String {
    format!(
        "apiVersion: repofanout.dev/v1alpha1\nkind: RepoFanout\nmetadata: {{name: {name}, \
             namespace: {namespace}}}\n\
         spec: {{repository: {repository}}}\n"
    )
}

async fn class_field(world: &World, path: &str) -> Result<String> {
    world
        .cluster
        .kubectl(&["get", "rfc", "acme", "-o", &format!("jsonpath={path}")])
        .await
}

async fn wait_class(world: &World, path: &str, value: &str) -> Result<()> {
    until(LIMIT, || async {
        match class_field(world, path).await? {
            found if found == value => Ok(()),
            found => Err(format!(
                "{path} of the class is '{found}' and not '{value}'"
            )),
        }
    })
    .await
}

async fn table(world: &World, arguments: &[&str]) -> Result<()> {
    println!("$ kubectl {}", arguments.join(" "));
    print!("{}", world.cluster.kubectl(arguments).await?);
    Ok(())
}
