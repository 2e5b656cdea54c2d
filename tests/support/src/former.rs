//! The operator of another revision: what a newer one takes over from, and is measured against.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{folder, once, run};
use crate::{Result, root};

/// The revision whose world the operator of this tree takes up without a write, as the test
/// `upgrade` has it. It moves on to a later one where a release is meant to write more.
pub const BEFORE: &str = "1aada23bbdd2b6c6826380067eadfb1843e27920";

/// The packages of the project that an operator is built from, or that its tests are.
const MANIFESTS: [&str; 3] = [
    "Cargo.toml",
    "tests/aws/Cargo.toml",
    "tests/support/Cargo.toml",
];

/// The operator of this revision: found in the cache, or built once and kept there.
///
/// cargo builds it in `target`, so that what the two trees depend on is compiled once. The
/// operator that `target` showed before has to be built anew afterwards. If there is no `target`,
/// it is built in a folder of its own, which touches nothing and takes longer.
///
/// # Errors
/// The revision is not in this clone, or does not compile.
pub fn former(
    revision: &str,
    release: bool,
    target: Option<&Path>,
    progress: fn(&str),
) -> Result<PathBuf> {
    let commit = commit(revision)?;
    let cache = folder()?;
    // Two runs at once would build the same: the second one waits.
    let lock = cache.join("former.lock");
    let lock = File::create(&lock).map_err(|e| format!("{}: {e}", lock.display()))?;
    lock.lock().map_err(|e| e.to_string())?;
    let profile = if release { "release" } else { "debug" };
    let name = format!("operator-{}-{profile}-rust-{}", &commit[..12], rust()?);
    let what = format!("the operator of revision {}", &commit[..12]);
    let kept = once(&cache, &name, &what, progress, |folder| {
        let (source, own) = (folder.join("source"), folder.join("target"));
        let target = std::path::absolute(target.unwrap_or(&own)).map_err(|e| e.to_string())?;
        check_out(&commit, &source)?;
        rename(&commit, &source)?;
        compile(&source, &target, release)?;
        let built = target.join(profile).join("repofanout");
        std::fs::copy(&built, folder.join("repofanout"))
            .map_err(|e| format!("{}: {e}", built.display()))?;
        remove(&source)?;
        remove(&own)
    })?;
    Ok(kept.join("repofanout"))
}

/// The revision's full id.
fn commit(revision: &str) -> Result<String> {
    let named = format!("{revision}^{{commit}}");
    let found = git(&["rev-parse", "--verify", "--quiet", &named]);
    found.map_err(|_| {
        format!(
            "revision {revision} is not in this clone: if it is a shallow one, run `git fetch \
             --unshallow`"
        )
    })
}

/// The compiler's version: programs of two compilers cannot be compared.
fn rust() -> Result<String> {
    let output = Command::new("rustc").arg("--version").output();
    let output = output.map_err(|e| format!("rustc: {e}"))?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let version = text.split_whitespace().nth(1);
    version
        .map(str::to_owned)
        .ok_or_else(|| format!("rustc tells no version: {text}"))
}

fn git(arguments: &[&str]) -> Result<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root())
        .args(arguments)
        .output()
        .map_err(|e| format!("git: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned());
    }
    Err(String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The revision's files, in this folder.
fn check_out(commit: &str, source: &Path) -> Result<()> {
    std::fs::create_dir_all(source).map_err(|e| format!("{}: {e}", source.display()))?;
    let archive = source.join("source.tar");
    let output = format!("--output={}", archive.display());
    git(&["archive", "--format=tar", &output, commit])?;
    run(Command::new("tar")
        .arg("-xf")
        .arg(&archive)
        .current_dir(source))?;
    std::fs::remove_file(&archive).map_err(|e| format!("{}: {e}", archive.display()))
}

/// Gives its packages versions of their own. In one target folder cargo takes packages of the same
/// name and version for the same, wherever their sources lie, and would use one tree's for the
/// other's.
fn rename(commit: &str, source: &Path) -> Result<()> {
    for manifest in MANIFESTS {
        let path = source.join(manifest);
        let failed = |e: std::io::Error| format!("{manifest} of {commit}: {e}");
        let text = std::fs::read_to_string(&path).map_err(failed)?;
        let lines = text.lines().map(|line| {
            let version = line.strip_prefix("version = \"");
            match version.and_then(|rest| rest.strip_suffix('"')) {
                Some(version) => format!("version = \"{version}-r{}\"\n", &commit[..12]),
                None => format!("{line}\n"),
            }
        });
        std::fs::write(&path, lines.collect::<String>()).map_err(failed)?;
    }
    Ok(())
}

fn compile(source: &Path, target: &Path, release: bool) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    if release {
        command.args(["build", "--release", "--bin", "repofanout"]);
    } else {
        // Features of dependencies follow from what is built with them. Only as a part of its
        // tests, empty ones here, the operator has the dependencies that our tests have.
        let tests = source.join("tests/operator/main.rs");
        std::fs::write(&tests, "").map_err(|e| format!("{}: {e}", tests.display()))?;
        command.args(["test", "--no-run", "--test", "operator"]);
    }
    run(command
        .args(["--quiet", "--package", "repofanout"])
        .current_dir(source)
        .env("CARGO_TARGET_DIR", target)
        // It is compiled once: there is nothing to go on from.
        .env("CARGO_INCREMENTAL", "0"))
}

fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(format!("{}: {e}", folder.display()))
        }
        _ => Ok(()),
    }
}
