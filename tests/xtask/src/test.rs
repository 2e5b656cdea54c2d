//! `cargo xtask test` and `cargo xtask generate`.

use std::process::Command;

use support::{Result, root};

/// Everything that has to hold before a change lands.
pub fn run(filter: Option<&str>) -> Result<()> {
    if filter.is_none() {
        cargo(&["fmt", "--all", "--check"], "formatting: run `cargo fmt --all`")?;
        cargo(&["clippy", "--quiet", "--workspace", "--all-targets", "--", "--deny", "warnings"], "clippy")?;
    }
    let mut arguments = vec!["test", "--workspace"];
    arguments.extend(filter);
    cargo(&arguments, "tests")
}

/// Writes the files that come from the program.
pub fn generate() -> Result<()> {
    let crds = root().join("crds");
    std::fs::create_dir_all(&crds).map_err(|e| format!("{}: {e}", crds.display()))?;
    let folder = crds.display().to_string();
    cargo(&["run", "--quiet", "--package", "repofanout", "--", "crd", "--output", &folder], "the CRDs")
}

fn cargo(arguments: &[&str], what: &str) -> Result<()> {
    println!("+ cargo {}", arguments.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo).args(arguments).current_dir(root()).status().map_err(|e| format!("cargo: {e}"))?;
    if status.success() { Ok(()) } else { Err(format!("{what} failed")) }
}
