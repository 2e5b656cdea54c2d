//! The SDK stays behind the cloud, the core is pure, files stay readable.

use std::path::{Path, PathBuf};

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// Part of the crate, and its code without tests.
fn code() -> Vec<(String, PathBuf, String)> {
    let src = support::root().join("src");
    let part = |path: &Path| {
        let first = path
            .strip_prefix(&src)
            .unwrap()
            .components()
            .next()
            .unwrap();
        first
            .as_os_str()
            .to_string_lossy()
            .trim_end_matches(".rs")
            .to_owned()
    };
    let read = |path: PathBuf| {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text
            .split("#[cfg(test)]")
            .next()
            .unwrap_or_default()
            .to_owned();
        (part(&path), path, code)
    };
    sources(&src).into_iter().map(read).collect()
}

#[test]
fn the_sdk_stays_behind_the_cloud_and_the_core_is_pure() {
    let mut wrong = Vec::new();
    for (part, path, code) in code() {
        let mut forbid = |what: &str| {
            if code.contains(what) {
                wrong.push(format!("{} names {what}", path.display()));
            }
        };
        if part != "aws" {
            ["aws_sdk_", "aws_smithy", "aws_config"]
                .into_iter()
                .for_each(&mut forbid);
        }
        if ["domain", "spec", "resource", "status"].contains(&&*part) {
            [
                "Client",
                "Timestamp::now",
                "SystemTime",
                "Instant::",
                "tokio::",
            ]
            .into_iter()
            .for_each(&mut forbid);
        }
        if part != "cli" {
            ["std::env::var", "env::args"]
                .into_iter()
                .for_each(&mut forbid);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn source_files_stay_readable() {
    let long: Vec<String> = code()
        .into_iter()
        .filter(|(_, _, code)| code.lines().filter(|l| !l.trim().is_empty()).count() > 450)
        .map(|(_, path, _)| path.display().to_string())
        .collect();
    assert!(long.is_empty(), "over 450 lines of code: {long:?}");
}
