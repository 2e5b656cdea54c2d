//! Commands and settings. Nothing else reads flags and environment variables.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::domain::names::LONGEST_PREFIX;

/// Default name of an installation.
pub const CONTROLLER: &str = "repofanout";

/// Copies every push to a repository into S3 and announces it on SNS.
#[derive(Parser, Debug)]
#[command(name = "repofanout", version, about)]
pub struct Cli {
    /// The command to run.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Reconciles RepoFanout objects until the process is asked to stop.
    Run(Box<Run>),
    /// Reports what is missing in the cluster and in AWS. Writes nothing in either.
    Check(Box<Check>),
    /// Shows what the operator would write to AWS for a manifest. Writes nothing, neither in AWS
    /// nor in the cluster.
    Plan(Box<Plan>),
    /// Prints manifests that take over existing pipelines of the operator's two-stage shape, and
    /// shows what applying them would change. Writes nothing, neither in AWS nor in the cluster.
    Import(Box<Import>),
    /// Prints the CustomResourceDefinitions, or writes them into a folder.
    Crd {
        /// Folder for the files, one per custom resource.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Prints the JSON schema of the announcements that `notifications.announce` enables, or writes
    /// it into a file.
    AnnouncementSchema {
        /// File for the schema.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Prints the IAM policies that the operator needs: its own policy, which covers its calls on
    /// names with its prefix, and the permissions boundary of the roles that it creates.
    IamPolicy(IamPolicy),
}

/// Settings of `iam-policy`. They must be the same as those of `run`.
#[derive(Args, Debug)]
pub struct IamPolicy {
    /// AWS account id, twelve digits.
    #[arg(long)]
    pub account: String,

    /// AWS region, or `*` for all regions.
    #[arg(long, env = "REPOFANOUT_REGION", default_value = "*")]
    pub region: String,

    /// AWS partition.
    #[arg(long, default_value = "aws")]
    pub partition: String,

    /// Prefix of every generated AWS name.
    #[arg(long, visible_alias = "prefix", env = "REPOFANOUT_NAME_PREFIX", default_value = "rf-", value_parser = name_prefix)]
    pub name_prefix: String,

    /// Name of the IAM policy that is the permissions boundary. `run` must have the same setting.
    /// Repeat the flag for classes that name a boundary of their own.
    #[arg(
        long = "permissions-boundary",
        env = "REPOFANOUT_PERMISSIONS_BOUNDARY",
        default_value = "repofanout-boundary"
    )]
    pub permissions_boundaries: Vec<String>,

    /// Prints only this document, in the form that `aws iam create-policy --policy-document`
    /// accepts: `operator`, `boundary`, `guard`. A policy of the operator that AWS would refuse for
    /// its size is printed as `operator-1`, `operator-2`, ...; all belong to its role.
    #[arg(long)]
    pub only: Option<String>,

    /// ARN of the operator's role. Also prints a service control policy that lets nobody else write
    /// the ownership tags.
    #[arg(long)]
    pub guard: Option<String>,

    /// ARN pattern of existing AWS resources that objects may refer to; `*` and `?` are wildcards.
    /// May be repeated.
    #[arg(long, env = "REPOFANOUT_ALLOW_EXISTING", value_delimiter = ',')]
    pub allow_existing: Vec<String>,

    /// Folds ARNs of --allow-existing whose names begin with the same word into one pattern, which
    /// covers whatever else has such a name.
    #[arg(long)]
    pub fold: bool,

    /// Adds the permissions that `destination.prune` needs: to delete files only while they are
    /// unchanged, to read source artifacts, and to keep them from expiring.
    #[arg(long, env = "REPOFANOUT_ALLOW_PRUNE")]
    pub allow_prune: bool,

    /// ARN of a role in another account that a RepoFanoutClass names. May be repeated. The role
    /// itself needs the policy that is printed for its own account.
    #[arg(long = "assume-role")]
    pub assume_roles: Vec<String>,
}

/// Settings that `run`, `check`, `plan` and `import` share.
#[derive(Args, Debug)]
pub struct Shared {
    /// Id of the cluster in the ownership tags in AWS. Default: the uid of the namespace
    /// kube-system.
    #[arg(long, env = "REPOFANOUT_CLUSTER_ID")]
    pub cluster_id: Option<String>,

    /// Prefix of every generated AWS name: lower-case letters, digits and dashes, at most 12
    /// characters.
    #[arg(long, env = "REPOFANOUT_NAME_PREFIX", default_value = "rf-", value_parser = name_prefix)]
    pub name_prefix: String,

    /// Lets objects choose names of AWS resources.
    #[arg(long, env = "REPOFANOUT_ALLOW_NAMES")]
    pub allow_names: bool,

    /// ARN pattern of existing AWS resources that objects may refer to; `*` and `?` are wildcards.
    /// May be repeated.
    #[arg(long, env = "REPOFANOUT_ALLOW_EXISTING", value_delimiter = ',')]
    pub allow_existing: Vec<String>,

    /// Pattern of account ids, role ARNs and organization ids that objects without a class may
    /// admit as readers of their files (`destination.readers`); `*` and `?` are wildcards. An
    /// account covers its roles. May be repeated.
    #[arg(long, env = "REPOFANOUT_ALLOW_READERS", value_delimiter = ',')]
    pub allow_readers: Vec<String>,

    /// Lets objects prune files that are no longer in the repository (`destination.prune`).
    #[arg(long, env = "REPOFANOUT_ALLOW_PRUNE")]
    pub allow_prune: bool,

    /// AWS region of objects that name none. Default: the region that the AWS SDK finds.
    #[arg(long, env = "REPOFANOUT_REGION")]
    pub region: Option<String>,

    /// Addresses S3 buckets by path, for endpoints that are not AWS.
    #[arg(long, env = "REPOFANOUT_S3_PATH_STYLE")]
    pub s3_path_style: bool,

    /// Name of the IAM policy that is the permissions boundary of the pipelines' roles, as
    /// `iam-policy` prints it. Each account has its own copy. A class may name another policy.
    #[arg(long, env = "REPOFANOUT_PERMISSIONS_BOUNDARY")]
    pub permissions_boundary: Option<String>,

    /// Refuses objects without a RepoFanoutClass.
    #[arg(long, env = "REPOFANOUT_REQUIRE_CLASS")]
    pub require_class: bool,

    /// Namespace whose objects the operator reconciles. May be repeated. Default: all namespaces.
    #[arg(
        long = "watch-namespace",
        env = "REPOFANOUT_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub watch_namespaces: Vec<String>,

    /// Name of this installation. Its Lease and its events carry the name, and classes name it in
    /// `spec.controller`. An installation with a name other than the default reconciles objects
    /// without a class only in namespaces that --watch-namespace names.
    #[arg(long, env = "REPOFANOUT_CONTROLLER_NAME", default_value = CONTROLLER)]
    pub controller_name: String,

    /// Lets only the holder of a Lease work, so that several replicas may run.
    #[arg(long, env = "REPOFANOUT_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,

    /// Namespace of the Lease. Default: the namespace that the process runs in.
    #[arg(long, env = "POD_NAMESPACE")]
    pub lease_namespace: Option<String>,
}

/// Settings of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// Settings that the commands share.
    #[command(flatten)]
    pub shared: Shared,

    /// Number of objects that are reconciled at the same time.
    #[arg(long, env = "REPOFANOUT_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,

    /// Rate limit per API, in calls per second, for each account and region. The API is given by
    /// the beginning of its name, such as `codepipeline=20` or `sns:TagResource=5`; `*` stands for
    /// all others. May be repeated. Default: AWS's documented limits. When AWS throttles, the
    /// operator calls less often.
    #[arg(long = "aws-rate", env = "REPOFANOUT_AWS_RATES", value_delimiter = ',', value_parser = aws_rate)]
    pub aws_rates: Vec<(String, f64)>,

    /// Time between observations of a pipeline's executions while none runs, such as 60s. It
    /// applies where no queue reports executions: without a class, or with a class that has
    /// `executionEvents: Poll`. With many pipelines the time is longer, so that these observations
    /// take at most one call per second.
    #[arg(long, env = "REPOFANOUT_POLL_INTERVAL", default_value = "60s", value_parser = poll_interval)]
    pub poll_interval: Duration,

    /// Time that AWS may take to show a resource that the operator has just created, such as 2m.
    /// Until then, "not found" counts as "not yet": nothing is created again, and no second
    /// connection asks for a person's click.
    #[arg(long, env = "REPOFANOUT_SETTLE_TIME", default_value = "2m", value_parser = settle_time)]
    pub settle_time: Duration,

    /// Time that the Lease is valid without renewal. After that, another process takes over.
    #[arg(long, env = "REPOFANOUT_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// Identity of this process in leader election. Default: the host's name and the process id.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Address of `/metrics`, `/livez` and `/readyz`, such as 0.0.0.0:8080. Default: none, and
    /// nothing is served.
    #[arg(long, env = "REPOFANOUT_LISTEN")]
    pub listen: Option<SocketAddr>,

    /// Time after which a reconcile that does not end makes `/livez` fail.
    #[arg(long, env = "REPOFANOUT_STUCK_AFTER", default_value = "15m", value_parser = stuck_after)]
    pub stuck_after: Duration,

    /// Time after which the stage of an execution that reads the repository counts as stuck. The
    /// object then says so, and corrections do not wait for the execution any more.
    #[arg(long, env = "REPOFANOUT_SOURCE_LIMIT", default_value = "30m", value_parser = source_limit)]
    pub source_limit: Duration,

    /// The same for the stage that copies to the bucket. AWS itself ends it after 90 minutes.
    #[arg(long, env = "REPOFANOUT_DEPLOY_LIMIT", default_value = "100m", value_parser = deploy_limit)]
    pub deploy_limit: Duration,

    /// Reports on status what the operator would do, and writes nothing in AWS.
    #[arg(long, env = "REPOFANOUT_READ_ONLY")]
    pub read_only: bool,

    /// OTLP endpoint (HTTP) that traces are sent to, such as http://otel-collector:4318. Default:
    /// none, and no traces are sent.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,

    /// Log level, or directives such as `repofanout=debug,kube=warn`.
    #[arg(long, env = "REPOFANOUT_LOG", default_value = "info")]
    pub log: String,

    /// Log format.
    #[arg(long, env = "REPOFANOUT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Settings of `check`.
#[derive(Args, Debug)]
pub struct Check {
    /// Settings that the commands share.
    #[command(flatten)]
    pub shared: Shared,

    /// ARN of the role or user whose permissions are checked. It lets an administrator check a role
    /// without having its credentials. Default: the identity of this process.
    #[arg(long)]
    pub principal: Option<String>,
}

/// Settings of `plan`.
#[derive(Args, Debug)]
pub struct Plan {
    /// Settings that the commands share.
    #[command(flatten)]
    pub shared: Shared,

    /// Manifest with RepoFanouts and RepoFanoutClasses. Its classes replace those in the cluster.
    /// `-` is standard input.
    #[arg(long, short)]
    pub file: PathBuf,

    /// Namespace of objects that name none.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,

    /// Uses no cluster: all objects count as new, and the only classes are those in the file. Needs
    /// --cluster-id.
    #[arg(long, requires = "cluster_id")]
    pub offline: bool,
}

/// Settings of `import`.
#[derive(Args, Debug)]
pub struct Import {
    /// Settings that the commands share.
    #[command(flatten)]
    pub shared: Shared,

    /// Pattern of names of pipelines; `*` and `?` are wildcards. May be repeated.
    #[arg(long = "pipeline", default_value = "*")]
    pub pipelines: Vec<String>,

    /// Namespace of the printed objects.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,

    /// Terraform state file. Prints the `removed` blocks for the imported resources that the state
    /// contains. May be repeated.
    #[arg(long)]
    pub state: Vec<PathBuf>,
}

/// Format of log lines.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text for people.
    Text,
    /// One JSON object per line.
    Json,
}

fn name_prefix(text: &str) -> Result<String, String> {
    let fits = !text.is_empty() && text.len() <= LONGEST_PREFIX;
    let starts = text.starts_with(|c: char| c.is_ascii_lowercase() || c.is_ascii_digit());
    if fits
        && starts
        && text
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
    {
        return Ok(text.to_owned());
    }
    Err(format!(
        "write 1 to {LONGEST_PREFIX} lower-case letters, digits and dashes, beginning with a \
             letter or digit"
    ))
}

fn aws_rate(text: &str) -> Result<(String, f64), String> {
    let parts = text
        .split_once('=')
        .and_then(|(name, rate)| Some((name, rate.parse::<f64>().ok()?)));
    match parts {
        Some((name, rate)) if !name.is_empty() && (0.01..=10_000.0).contains(&rate) => {
            Ok((name.to_owned(), rate))
        }
        _ => Err(
            "write the beginning of an API's name and its calls per second, such as codepipeline=20"
                .to_owned(),
        ),
    }
}

fn poll_interval(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(100), "60s")
}

fn settle_time(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), "2m")
}

fn stuck_after(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), "15m")
}

fn source_limit(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), "30m")
}

fn deploy_limit(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), "100m")
}

fn lease_duration(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(2), "15s")
}

fn duration(text: &str, least: Duration, example: &str) -> Result<Duration, String> {
    let span = text
        .parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|span| Duration::try_from(span).ok());
    let span = span.ok_or_else(|| format!("write a duration such as {example}"))?;
    if span >= least {
        Ok(span)
    } else {
        Err(format!("write a duration of at least {least:?}"))
    }
}
