//! The project's own commands; each does all of its own set-up.

mod demo;
mod test;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "The project's own commands; each does all of its own set-up")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Shows the main job: one manifest becomes a running fan-out.
    Demo {
        /// Leaves the world running, to play with.
        #[arg(long)]
        keep: bool,
    },
    /// Formatting, lints, generated files and all tests.
    Test {
        /// Passed on to the tests: part of a name.
        filter: Option<String>,
    },
    /// Writes the generated files: crds/.
    Generate,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Demo { keep } => demo::run(keep),
        Command::Test { filter } => test::run(filter.as_deref()),
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
