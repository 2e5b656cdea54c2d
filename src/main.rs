//! Parses the command line and runs the command.

use std::process::ExitCode;

use clap::Parser;
use repofanout::cli::{Cli, Command};
use repofanout::{commands, telemetry};

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Crd { output } => commands::print::crds(output.as_deref()),
        Command::AnnouncementSchema { output } => {
            commands::print::announcement_schema(output.as_deref())
        }
        Command::IamPolicy(policy) => commands::iam_policy::print(policy),
        Command::Run(run) => {
            let traces = telemetry::init(&run.log, run.log_format, run.otlp_endpoint.as_deref());
            traces.and_then(|_flushed_on_drop| block_on(commands::run::run(*run)))
        }
        Command::Check(check) => block_on(commands::check::check(*check)),
        Command::Import(import) => block_on(commands::import::import(*import)),
        Command::Plan(plan) => block_on(commands::plan::plan(*plan)),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            eprintln!("repofanout: {message}");
            ExitCode::FAILURE
        }
    }
}

fn block_on(command: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .ok();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime
        .map_err(|e| format!("cannot start the async runtime: {e}"))?
        .block_on(command)
}
