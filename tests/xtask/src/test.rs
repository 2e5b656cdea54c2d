//! `cargo xtask test` and `cargo xtask generate`.

use std::path::Path;
use std::process::Command;

use support::{BEFORE, Helm, Result, cargo_install, former, generated, root, target};

/// Everything that has to hold before a change lands.
pub fn run(filter: Option<&str>) -> Result<()> {
    if filter.is_none() {
        cargo(
            &["fmt", "--all", "--check"],
            "formatting: run `cargo fmt --all`",
        )?;
        cargo(
            &[
                "clippy",
                "--quiet",
                "--workspace",
                "--all-targets",
                "--",
                "--deny",
                "warnings",
            ],
            "clippy",
        )?;
    }
    if filter.is_none() {
        supply()?;
    }
    let mut pure = vec!["test", "--workspace", "--lib", "--bins"];
    pure.extend(filter);
    cargo(&pure, "pure tests")?;
    // Here, where its dependencies are built, and before the tests build the operator of this tree.
    former(BEFORE, false, Some(&target()), |line| println!("{line}"))?;
    let mut operator = vec!["test", "--package", "repofanout", "--test", "operator"];
    operator.extend(filter);
    cargo(&operator, "tests of the operator")
}

/// Licences, banned crates and sources, and dependencies that nothing uses.
fn supply() -> Result<()> {
    let note: fn(&str) = |line| println!("{line}");
    let deny = cargo_install("cargo-deny", "0.20.2", note)?;
    command(
        &deny,
        &["--workspace", "check", "licenses", "bans", "sources"],
        "cargo-deny: see deny.toml",
    )?;
    let machete = cargo_install("cargo-machete", "0.9.2", note)?;
    command(
        &machete,
        &["."],
        "cargo-machete: dependencies that nothing uses",
    )
}

fn command(program: &Path, arguments: &[&str], what: &str) -> Result<()> {
    println!(
        "+ {} {}",
        program.file_name().unwrap_or_default().to_string_lossy(),
        arguments.join(" ")
    );
    let status = Command::new(program)
        .args(arguments)
        .current_dir(root())
        .status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("{what}: {status}")),
        Err(error) => Err(format!("{}: {error}", program.display())),
    }
}

/// The random walk of the tests, for longer and from another seed each time.
pub fn soak(minutes: u64, seed: Option<u64>) -> Result<()> {
    let clock = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs());
    let seed = seed.unwrap_or(clock).to_string();
    let variables = [
        ("REPOFANOUT_SOAK_MINUTES", minutes.to_string()),
        ("REPOFANOUT_SEED", seed),
    ];
    let arguments = [
        "test",
        "--package",
        "repofanout",
        "--test",
        "operator",
        "any_walk",
        "--",
        "--nocapture",
    ];
    cargo_with(&arguments, &variables, "the soak")
}

/// Writes the files that come from the program.
pub fn generate() -> Result<()> {
    let crds = root().join("crds");
    let folder = crds.display().to_string();
    cargo(
        &[
            "run",
            "--quiet",
            "--package",
            "repofanout",
            "--",
            "crd",
            "--output",
            &folder,
        ],
        "the CRDs",
    )?;
    let schema = root()
        .join("deploy/announcement.schema.json")
        .display()
        .to_string();
    let arguments = [
        "run",
        "--quiet",
        "--package",
        "repofanout",
        "--",
        "announcement-schema",
        "--output",
        &schema,
    ];
    cargo(&arguments, "the schema of announcements")?;
    let read = |file: &'static str| {
        let text =
            std::fs::read_to_string(crds.join(file)).map_err(|e| format!("crds/{file}: {e}"))?;
        Ok::<_, String>((file, text))
    };
    let helm = Helm::ready(|line| println!("{line}"))?;
    let files = generated(
        &helm,
        &[read("repofanouts.yaml")?, read("repofanoutclasses.yaml")?],
    )?;
    for (path, text) in files {
        let path = root().join(path);
        let folder = path.parent().expect("below the project's folder");
        std::fs::create_dir_all(folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        std::fs::write(&path, text).map_err(|e| format!("{}: {e}", path.display()))?;
    }
    Ok(())
}

fn cargo(arguments: &[&str], what: &str) -> Result<()> {
    cargo_with(arguments, &[], what)
}

fn cargo_with(arguments: &[&str], variables: &[(&str, String)], what: &str) -> Result<()> {
    println!("+ cargo {}", arguments.join(" "));
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(arguments)
        .envs(variables.iter().cloned())
        .current_dir(root())
        .status()
        .map_err(|e| format!("cargo: {e}"))?;
    if status.success() {
        Ok(())
    } else {
        Err(format!("{what} failed"))
    }
}
