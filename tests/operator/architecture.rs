//! The shape of the house: arrows between rooms point down, files form no circle, and each file can
//! be read in one sitting.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// The rooms, the lowest first: each may use itself and those before it.
const ROOMS: [&str; 15] = [
    "api",
    "domain",
    "spec",
    "resource",
    "cloud",
    "metrics",
    "state",
    "feature",
    "status",
    "reconcile",
    "runtime",
    "cli",
    "aws",
    "server",
    "commands",
];

/// What a room may not use although it lies below: the adapters know the cloud's words alone, and
/// the metrics know nothing that they count but its words.
const NOT: [(&str, &[&str]); 4] = [
    (
        "aws",
        &["state", "feature", "status", "reconcile", "runtime", "cli"],
    ),
    (
        "cli",
        &[
            "state",
            "feature",
            "status",
            "reconcile",
            "runtime",
            "cloud",
            "resource",
        ],
    ),
    ("server", &["aws", "cli", "reconcile", "status", "feature"]),
    ("metrics", &["spec", "resource"]),
];

/// Longest file, in lines of code: without blank lines, comments and tests.
const LONGEST: usize = 400;

/// One file of the crate.
struct Source {
    /// As a path of modules, such as `reconcile::fanout`.
    module: String,
    /// Its code, without tests and comments.
    code: String,
}

impl Source {
    fn room(&self) -> &str {
        self.module.split("::").next().unwrap_or_default()
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found
}

/// Every file but the crate's root.
fn sources() -> Vec<Source> {
    let src = support::root().join("src");
    let mut all = Vec::new();
    for path in files(&src) {
        let text = std::fs::read_to_string(&path).unwrap();
        let code = text
            .split("\n#[cfg(test)]\nmod tests")
            .next()
            .unwrap_or_default();
        let code = code
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"));
        let code = code.collect::<Vec<_>>().join("\n");
        let relative = path.strip_prefix(&src).unwrap().with_extension("");
        let mut parts: Vec<_> = relative.iter().map(|p| p.to_string_lossy()).collect();
        if parts.last().is_some_and(|last| last == "mod") {
            parts.pop();
        }
        let module = parts.join("::");
        if !["lib", "main", "telemetry"].contains(&&*module) {
            all.push(Source { module, code });
        }
    }
    all
}

/// The paths that a file names, absolute in the crate: those that begin with `crate` or `super`.
fn named(source: &Source) -> BTreeSet<String> {
    let parent = source
        .module
        .rsplit_once("::")
        .map_or("", |(parent, _)| parent);
    let flat = source.code.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut found = BTreeSet::new();
    for (root, base) in [("crate::", ""), ("super::", parent)] {
        for (at, _) in flat.match_indices(root) {
            if flat[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            for path in tree(&flat[at + root.len()..]) {
                let path = if base.is_empty() {
                    path
                } else {
                    format!("{base}::{path}")
                };
                found.insert(path);
            }
        }
    }
    found
}

/// The paths of a use tree, such as `a::{b, c::{d, e}}`; of a plain path itself.
fn tree(text: &str) -> Vec<String> {
    let end = text.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':'));
    let (head, rest) = text.split_at(end.unwrap_or(text.len()));
    let (true, Some(inner)) = (head.ends_with("::"), rest.strip_prefix('{')) else {
        return vec![head.trim_end_matches(':').to_owned()];
    };
    let (mut depth, mut start, mut paths) = (0, 0, Vec::new());
    for (at, c) in inner.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            ',' | '}' if depth == 0 => {
                let part = inner[start..at].trim();
                if !part.is_empty() {
                    paths.extend(tree(part).into_iter().map(|path| format!("{head}{path}")));
                }
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    paths
}

/// Which file uses which: a path belongs to the longest module that it begins with.
fn imports(sources: &[Source]) -> BTreeMap<&str, BTreeSet<&str>> {
    let modules: BTreeSet<&str> = sources.iter().map(|s| &*s.module).collect();
    let file_of = |path: &str| {
        let mut path = path;
        loop {
            if let Some(module) = modules.get(path) {
                return Some(*module);
            }
            path = path.rsplit_once("::")?.0;
        }
    };
    let used = |source: &Source| {
        let files = named(source);
        let files = files.iter().filter_map(|path| file_of(path));
        files.filter(|file| *file != source.module).collect()
    };
    sources
        .iter()
        .map(|source| (&*source.module, used(source)))
        .collect()
}

#[test]
fn arrows_point_down() {
    let sources = sources();
    let rank = |room: &str| ROOMS.iter().position(|r| *r == room);
    let mut wrong = Vec::new();
    for (module, used) in imports(&sources) {
        let room = module.split("::").next().unwrap_or_default();
        let Some(mine) = rank(room) else {
            wrong.push(format!("{module} is in no room that this test knows"));
            continue;
        };
        let not = NOT
            .iter()
            .find(|(r, _)| *r == room)
            .map_or(&[][..], |(_, not)| not);
        for other in used {
            let below = other.split("::").next().unwrap_or_default();
            if rank(below).is_none_or(|theirs| theirs > mine) || not.contains(&below) {
                wrong.push(format!("{module} uses {other}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn files_form_no_circle() {
    let sources = sources();
    let imports = imports(&sources);
    // Whatever can be taken away because it uses nothing that is left is in no circle.
    let mut left: BTreeSet<&str> = imports.keys().copied().collect();
    loop {
        let leaf = |module: &&str| imports[module].iter().all(|used| !left.contains(used));
        let leaves: Vec<&str> = left.iter().copied().filter(leaf).collect();
        if leaves.is_empty() {
            break;
        }
        for leaf in leaves {
            left.remove(leaf);
        }
    }
    // What only uses a circle is not in it.
    loop {
        let users = |module: &&str| left.iter().any(|other| imports[other].contains(*module));
        let unused: Vec<&str> = left
            .iter()
            .copied()
            .filter(|module| !users(module))
            .collect();
        if unused.is_empty() {
            break;
        }
        for module in unused {
            left.remove(module);
        }
    }
    let circle: Vec<String> = left
        .iter()
        .map(|module| {
            let used: Vec<&str> = imports[module].intersection(&left).copied().collect();
            format!("{module} -> {}", used.join(", "))
        })
        .collect();
    assert!(
        circle.is_empty(),
        "files use each other in a circle: {circle:#?}"
    );
}

#[test]
fn the_sdk_stays_behind_the_cloud_and_the_core_is_pure() {
    let mut wrong = Vec::new();
    for source in sources() {
        let mut forbid = |what: &str| {
            if source.code.contains(what) {
                wrong.push(format!("{} names {what}", source.module));
            }
        };
        if source.room() != "aws" {
            ["aws_sdk_", "aws_smithy", "aws_config"]
                .into_iter()
                .for_each(&mut forbid);
        }
        if ["api", "domain", "spec", "resource", "status"].contains(&source.room()) {
            let impure = [
                "Client",
                "Timestamp::now",
                "SystemTime",
                "Instant::",
                "tokio::",
            ];
            impure.into_iter().for_each(&mut forbid);
        }
        if source.room() != "runtime" {
            ["runtime::controller::{self", "controller::Controller"]
                .into_iter()
                .for_each(&mut forbid);
        }
        if source.room() != "cli" {
            ["std::env::var", "env::args"]
                .into_iter()
                .for_each(&mut forbid);
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn source_files_stay_readable() {
    let lines = |source: &Source| source.code.lines().filter(|l| !l.trim().is_empty()).count();
    let mut long: Vec<String> = Vec::new();
    for source in sources() {
        let lines = lines(&source);
        if lines > LONGEST {
            long.push(format!("{}: {lines}", source.module));
        }
    }
    assert!(long.is_empty(), "over {LONGEST} lines of code: {long:#?}");
}
