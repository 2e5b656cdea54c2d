//! The project's own commands; each does all of its own set-up.

mod against;
mod argocd;
mod bench;
mod dashboard;
mod demo;
mod e2e;
mod figures;
mod fleet;
mod organization;
mod plot;
mod test;
mod verify;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    about = "The project's own commands; each does all of its own set-up"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the main job: one manifest becomes a running fan-out.
    Demo {
        /// Shows a class instead: ten repositories of an organization, one authorization.
        #[arg(long, conflicts_with_all = ["keep", "kubeconfig"])]
        organization: bool,
        /// Leaves the world running, to play with.
        #[arg(long)]
        keep: bool,
        /// Uses the cluster of this kubeconfig, and leaves its namespace `team-docs` and the CRD
        /// behind.
        #[arg(long)]
        kubeconfig: Option<std::path::PathBuf>,
    },
    /// Formatting, lints, generated files and all tests.
    Test {
        /// Passed on to the tests: part of a name.
        filter: Option<String>,
    },
    /// The image, the chart and Argo CD on a real node, in a network namespace of its own; needs
    /// root.
    E2e {
        /// An OCI archive of the image, in place of building it.
        #[arg(long)]
        image: Option<std::path::PathBuf>,
        /// Within the namespaces already.
        #[arg(long, hide = true, requires = "image")]
        inside: bool,
    },
    /// Measures one fan-out, and fleets of them: times, calls, writes, memory. Prints figures
    /// beside their goals and fails nothing; also written to target/bench, as JSON, as a table and
    /// as a picture.
    Bench {
        /// Sizes of fleets on classes of a thousand, one account each; none if 0. A thousand with
        /// --against.
        #[arg(
            long,
            value_delimiter = ',',
            default_value = "100,1000,10000",
            default_value_if("against", clap::builder::ArgPredicate::IsPresent, "1000")
        )]
        sizes: Vec<usize>,
        /// Size of a fleet in an account that throttles as AWS does; none if 0.
        #[arg(long, default_value_t = 1000)]
        limited: usize,
        /// Adds to what target/bench/bench.json holds; with no fleet the table and the picture
        /// alone are made anew.
        #[arg(long)]
        add: bool,
        /// Measures fleets of this tree and of this revision in turn, and prints how many times as
        /// much this tree takes; also written to target/bench, as against.md and against.json.
        #[arg(long, value_name = "REVISION", conflicts_with_all = ["limited", "add"])]
        against: Option<String>,
        /// How often each of the two is measured.
        #[arg(long, requires = "against", default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
        rounds: u16,
    },
    /// Draws the chart's dashboard, by Prometheus of Debian over some minutes of an operator's
    /// life: deploy/dashboards/repofanout.svg.
    Dashboard,
    /// Writes the generated files: crds/, deploy/base, and the chart's copies, schema and
    /// reference.
    Generate,
    /// Walks random specs with faults on the way, for as long as it is told.
    Soak {
        /// How long.
        #[arg(long, default_value_t = 10)]
        minutes: u64,
        /// Walks as a run before did, which printed it.
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Asks a real AWS account, with the credentials in the environment, what no source verifies.
    VerifyAws {
        /// Makes and deletes a role, a bucket, two connections and a pipeline, all named
        /// `rf-verify-…`.
        #[arg(long)]
        yes: bool,
    },
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo {
            organization,
            keep,
            kubeconfig,
        } => demo::run(organization, keep, kubeconfig),
        Command::Test { filter } => test::run(filter.as_deref()),
        Command::E2e {
            image: Some(image),
            inside: true,
        } => e2e::inside(&image),
        Command::E2e { image, .. } => e2e::run(image),
        Command::Bench {
            sizes,
            against: Some(revision),
            rounds,
            ..
        } => against::run(&revision, usize::from(rounds), &sizes),
        Command::Bench {
            sizes,
            limited,
            add,
            ..
        } => bench::run(&sizes, (limited > 0).then_some(limited), add),
        Command::Dashboard => dashboard::run(),
        Command::Soak { minutes, seed } => test::soak(minutes, seed),
        Command::VerifyAws { yes } => verify::run(yes),
        Command::Generate => test::generate(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("xtask: {message}");
            ExitCode::FAILURE
        }
    }
}
