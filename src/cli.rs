//! Commands and settings; the only reader of flags and environment.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::domain::names::LONGEST_PREFIX;

/// Name of an installation that is given none.
pub const CONTROLLER: &str = "repofanout";

/// Every push to a repository lands in S3 and is announced on SNS.
#[derive(Parser, Debug)]
#[command(name = "repofanout", version, about)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Subcommand, Debug)]
pub enum Command {
    /// Serves RepoFanout objects until it is told to end.
    Run(Box<Run>),
    /// Tells what is missing in the cluster and in AWS; writes nothing in either.
    Check(Box<Check>),
    /// Shows what would be written to AWS for a manifest; writes nothing, in AWS or in the cluster.
    Plan(Box<Plan>),
    /// Writes manifests that take over pipelines of this shape that exist, and shows what applying
    /// them would change; writes nothing in AWS or in a cluster.
    Import(Box<Import>),
    /// Prints the CustomResourceDefinitions, or writes them into a folder.
    Crd {
        /// The folder; one file a resource.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Prints the JSON schema of the announcements that `notifications.announce` asks for, or
    /// writes it into a file.
    AnnouncementSchema {
        /// The file.
        #[arg(long)]
        output: Option<PathBuf>,
    },
    /// Prints the IAM policies that the operator needs: its own, which covers what it calls on
    /// names with its prefix, and the permissions boundary of the roles that it makes.
    IamPolicy(IamPolicy),
}

/// What the policies are printed for; the same settings as those of `run`.
#[derive(Args, Debug)]
pub struct IamPolicy {
    /// The AWS account, twelve digits.
    #[arg(long)]
    pub account: String,

    /// The AWS region; `*` for all.
    #[arg(long, env = "REPOFANOUT_REGION", default_value = "*")]
    pub region: String,

    /// The AWS partition.
    #[arg(long, default_value = "aws")]
    pub partition: String,

    /// What every generated AWS name begins with.
    #[arg(long, visible_alias = "prefix", env = "REPOFANOUT_NAME_PREFIX", default_value = "rf-", value_parser = name_prefix)]
    pub name_prefix: String,

    /// Name of the IAM policy that is the boundary; the operator is to run with the same. May be
    /// repeated, for classes that name one.
    #[arg(
        long = "permissions-boundary",
        env = "REPOFANOUT_PERMISSIONS_BOUNDARY",
        default_value = "repofanout-boundary"
    )]
    pub permissions_boundaries: Vec<String>,

    /// Prints this document alone, as `aws iam create-policy --policy-document` takes it.
    #[arg(long, value_enum)]
    pub only: Option<Document>,

    /// ARN of the operator's role: prints a service control policy, too, by which nobody else
    /// writes our ownership tags.
    #[arg(long)]
    pub guard: Option<String>,

    /// ARN patterns of existing AWS resources that objects may refer to.
    #[arg(long, env = "REPOFANOUT_ALLOW_EXISTING", value_delimiter = ',')]
    pub allow_existing: Vec<String>,

    /// Adds what `destination.prune` takes: to read source artifacts, and to keep them from
    /// expiring.
    #[arg(long, env = "REPOFANOUT_ALLOW_PRUNE")]
    pub allow_prune: bool,

    /// ARN of a role in another account that a RepoFanoutClass names; may be repeated. That role
    /// needs the policy of its account.
    #[arg(long = "assume-role")]
    pub assume_roles: Vec<String>,
}

/// What `iam-policy` prints.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum Document {
    /// The operator's policy.
    Operator,
    /// The permissions boundary of the roles that it makes.
    Boundary,
    /// The service control policy.
    Guard,
}

/// What holds for every object; the same for `run`, `check` and `plan`.
#[derive(Args, Debug)]
pub struct Shared {
    /// Which cluster the ownership tags in AWS name. The uid of the namespace kube-system if left
    /// out.
    #[arg(long, env = "REPOFANOUT_CLUSTER_ID")]
    pub cluster_id: Option<String>,

    /// What every generated AWS name begins with: lower-case letters, digits and dashes, 12
    /// characters at most.
    #[arg(long, env = "REPOFANOUT_NAME_PREFIX", default_value = "rf-", value_parser = name_prefix)]
    pub name_prefix: String,

    /// Lets objects choose names of AWS resources.
    #[arg(long, env = "REPOFANOUT_ALLOW_NAMES")]
    pub allow_names: bool,

    /// An ARN pattern (`*`, `?`) of existing AWS resources that objects may refer to; may be
    /// repeated.
    #[arg(long, env = "REPOFANOUT_ALLOW_EXISTING", value_delimiter = ',')]
    pub allow_existing: Vec<String>,

    /// A pattern (`*`, `?`) of accounts, ARNs of roles and ids of organizations that objects
    /// without a class may let read what they copy (`destination.readers`); may be repeated. An
    /// account covers its roles.
    #[arg(long, env = "REPOFANOUT_ALLOW_READERS", value_delimiter = ',')]
    pub allow_readers: Vec<String>,

    /// Lets objects have files deleted that are no longer in the repository (`destination.prune`).
    #[arg(long, env = "REPOFANOUT_ALLOW_PRUNE")]
    pub allow_prune: bool,

    /// The AWS region of objects that name none. The SDK's own default if left out.
    #[arg(long, env = "REPOFANOUT_REGION")]
    pub region: Option<String>,

    /// Addresses S3 buckets by path, for endpoints that are no AWS.
    #[arg(long, env = "REPOFANOUT_S3_PATH_STYLE")]
    pub s3_path_style: bool,

    /// Name of the IAM policy that bounds the roles of pipelines, as `iam-policy` prints it; each
    /// account has its own. A class may name another one.
    #[arg(long, env = "REPOFANOUT_PERMISSIONS_BOUNDARY")]
    pub permissions_boundary: Option<String>,

    /// Refuses objects without a RepoFanoutClass.
    #[arg(long, env = "REPOFANOUT_REQUIRE_CLASS")]
    pub require_class: bool,

    /// A namespace whose objects are served; may be repeated. All if left out.
    #[arg(
        long = "watch-namespace",
        env = "REPOFANOUT_WATCH_NAMESPACES",
        value_delimiter = ','
    )]
    pub watch_namespaces: Vec<String>,

    /// Name of this installation: of its Lease, in its events, and as `spec.controller` of the
    /// classes that it serves. One with another name than the default serves objects without a
    /// class only in namespaces that --watch-namespace names.
    #[arg(long, env = "REPOFANOUT_CONTROLLER_NAME", default_value = CONTROLLER)]
    pub controller_name: String,

    /// Lets only the holder of a Lease work, so that several replicas may run.
    #[arg(long, env = "REPOFANOUT_LEADER_ELECT", default_value_t = true, action = clap::ArgAction::Set)]
    pub leader_elect: bool,

    /// Namespace of the Lease. The one that the process runs in if left out.
    #[arg(long, env = "POD_NAMESPACE")]
    pub lease_namespace: Option<String>,
}

/// Settings of `run`.
#[derive(Args, Debug)]
pub struct Run {
    /// What holds for every object.
    #[command(flatten)]
    pub shared: Shared,

    /// How many objects are worked on at once.
    #[arg(long, env = "REPOFANOUT_CONCURRENCY", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1024))]
    pub concurrency: u16,

    /// How many calls a second an AWS API bears in an account and region, by the beginning of its
    /// name, such as `codepipeline=20` or `sns:TagResource=5`; may be repeated, `*` is all others.
    /// AWS's documented limits if left out; when AWS throttles, less is asked.
    #[arg(long = "aws-rate", env = "REPOFANOUT_AWS_RATES", value_delimiter = ',', value_parser = aws_rate)]
    pub aws_rates: Vec<(String, f64)>,

    /// How often executions are looked at while none runs, such as 60s, where no queue tells of
    /// them: without a class, or under one with `executionEvents: Poll`. Many pipelines are looked
    /// at less often, so that their looks take one call a second at most.
    #[arg(long, env = "REPOFANOUT_POLL_INTERVAL", default_value = "60s", value_parser = poll_interval)]
    pub poll_interval: Duration,

    /// How long the Lease holds without being renewed; another process takes over after that.
    #[arg(long, env = "REPOFANOUT_LEASE_DURATION", default_value = "15s", value_parser = lease_duration)]
    pub lease_duration: Duration,

    /// This process among the candidates for the Lease. The host's name if left out.
    #[arg(long, env = "POD_NAME")]
    pub identity: Option<String>,

    /// Address of `/metrics`, `/livez` and `/readyz`, such as 0.0.0.0:8080. Nothing is answered if
    /// left out.
    #[arg(long, env = "REPOFANOUT_LISTEN")]
    pub listen: Option<SocketAddr>,

    /// After how long a pass that does not end makes `/livez` fail.
    #[arg(long, env = "REPOFANOUT_STUCK_AFTER", default_value = "15m", value_parser = stuck_after)]
    pub stuck_after: Duration,

    /// Reports on status what would be done, and writes nothing in AWS.
    #[arg(long, env = "REPOFANOUT_READ_ONLY")]
    pub read_only: bool,

    /// Where traces are sent by OTLP over HTTP, such as http://otel-collector:4318. They are not if
    /// left out.
    #[arg(long, env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,

    /// What is logged: a level, or directives such as `repofanout=debug,kube=warn`.
    #[arg(long, env = "REPOFANOUT_LOG", default_value = "info")]
    pub log: String,

    /// How it is logged.
    #[arg(long, env = "REPOFANOUT_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// Settings of `check`.
#[derive(Args, Debug)]
pub struct Check {
    /// What holds for every object.
    #[command(flatten)]
    pub shared: Shared,

    /// ARN of the role or user whose permissions are checked, to be asked by somebody else before
    /// it has the keys. The one whose credentials this process has if left out.
    #[arg(long)]
    pub principal: Option<String>,
}

/// Settings of `plan`.
#[derive(Args, Debug)]
pub struct Plan {
    /// What holds for every object.
    #[command(flatten)]
    pub shared: Shared,

    /// The manifest: RepoFanouts, and RepoFanoutClasses in the place of those in the cluster. `-`
    /// is standard input.
    #[arg(long, short)]
    pub file: PathBuf,

    /// Namespace of objects that name none.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,

    /// Asks no cluster: objects are new, classes are those of the file. Needs --cluster-id.
    #[arg(long, requires = "cluster_id")]
    pub offline: bool,
}

/// What is brought in.
#[derive(Args, Debug)]
pub struct Import {
    /// What holds for every object.
    #[command(flatten)]
    pub shared: Shared,

    /// A pattern (`*`, `?`) of names of pipelines; may be repeated.
    #[arg(long = "pipeline", default_value = "*")]
    pub pipelines: Vec<String>,

    /// Namespace of the objects.
    #[arg(long, short, default_value = "default")]
    pub namespace: String,

    /// A Terraform state file: prints the `removed` blocks for what it has of them; may be
    /// repeated.
    #[arg(long)]
    pub state: Vec<PathBuf>,
}

/// How a log line looks.
#[derive(ValueEnum, Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
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
            "write the beginning of an API's name and calls a second, such as codepipeline=20"
                .to_owned(),
        ),
    }
}

fn poll_interval(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_millis(100), "60s")
}

fn stuck_after(text: &str) -> Result<Duration, String> {
    duration(text, Duration::from_secs(1), "15m")
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
