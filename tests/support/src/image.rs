//! Builds the operator's image from its Dockerfile, and the other images of a node, without a
//! registry.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::{NodeTools, folder, once, run};
use crate::{Result, root};

/// The Debian release that the builder's packages come from.
const DEBIAN: &str = "bookworm";
/// The image's name on the node.
pub const IMAGE: &str = "localhost/repofanout:e2e";

fn buildah(arguments: &[&str]) -> Result<()> {
    run(Command::new("buildah")
        .args(["--storage-driver", "vfs"])
        .args(arguments)
        .env("BUILDAH_ISOLATION", "chroot"))
}

/// Builds the image of the builder, with Debian, a C compiler and this machine's own Rust, and
/// loads it into buildah's store.
fn builder(cache: &Path, progress: fn(&str)) -> Result<()> {
    let what = format!("a builder image of Debian {DEBIAN} (about a minute)");
    let folder = once(
        cache,
        &format!("builder-{DEBIAN}-1"),
        &what,
        progress,
        |folder| {
            let tree = folder.join("tree");
            let packages = "--include=ca-certificates,gcc,libc6-dev";
            run(Command::new("debootstrap")
                .args(["--variant=minbase", packages, DEBIAN])
                .arg(&tree))?;
            run(Command::new("tar")
                .arg("-C")
                .arg(&tree)
                .arg("-cf")
                .arg(folder.join("tree.tar"))
                .arg("."))?;
            std::fs::remove_dir_all(&tree).map_err(|e| format!("{}: {e}", tree.display()))?;
            let file = "FROM scratch\nADD tree.tar /\nENV \
                 PATH=/rust/bin:/usr/sbin:/usr/bin:/sbin:/bin\n";
            std::fs::write(folder.join("Dockerfile"), file).map_err(|e| e.to_string())
        },
    )?;
    buildah(&[
        "bud",
        "--quiet",
        "--layers",
        "--timestamp",
        "0",
        "--tag",
        "localhost/repofanout-builder",
        &folder.display().to_string(),
    ])
}

/// Builds the operator's image as the Dockerfile says; answers the path of the OCI archive.
///
/// # Errors
/// The image does not build.
pub fn operator(progress: fn(&str)) -> Result<PathBuf> {
    builder(&folder()?, progress)?;
    progress("building the operator's image from the Dockerfile (about 10 minutes the first time)");
    let sysroot = Command::new("rustc")
        .args(["--print", "sysroot"])
        .output()
        .map_err(|e| format!("rustc: {e}"))?;
    let sysroot = String::from_utf8_lossy(&sysroot.stdout).trim().to_owned();
    let rust = format!("{sysroot}:/rust:ro");
    let mut arguments = vec![
        "bud",
        "--layers",
        "--timestamp",
        "0",
        "--build-arg",
        "BUILDER=localhost/repofanout-builder",
        "--volume",
        &rust,
    ];
    // If the machine trusts a CA of its own, cargo in the build trusts it, too.
    let certificates = std::env::var("SSL_CERT_FILE")
        .ok()
        .map(|file| format!("{file}:/etc/ssl/certs/ca-certificates.crt:ro"));
    if let Some(volume) = &certificates {
        arguments.extend(["--volume", volume]);
    }
    let context = root().display().to_string();
    arguments.extend(["--tag", IMAGE, &context]);
    buildah(&arguments)?;
    let archive = root().join("target").join("repofanout-image.tar");
    let _ = std::fs::remove_file(&archive);
    buildah(&[
        "push",
        "--quiet",
        IMAGE,
        &format!("oci-archive:{}:{IMAGE}", archive.display()),
    ])?;
    Ok(archive)
}

/// Builds the pause image, which holds a pod's namespaces, as an OCI archive in this folder.
pub fn pause(folder: &Path) -> Result<()> {
    let source = root().join("tests/support/node/pause.c");
    run(Command::new("gcc")
        .args(["-static", "-Os", "-o"])
        .arg(folder.join("pause"))
        .arg(source))?;
    let file = "FROM scratch\nCOPY pause /pause\nUSER 65535:65535\nENTRYPOINT [\"/pause\"]\n";
    std::fs::write(folder.join("Dockerfile"), file).map_err(|e| e.to_string())?;
    buildah(&[
        "bud",
        "--quiet",
        "--tag",
        "localhost/pause:1",
        &folder.display().to_string(),
    ])?;
    let archive = folder.join("pause.tar");
    buildah(&[
        "push",
        "--quiet",
        "localhost/pause:1",
        &format!("oci-archive:{}:localhost/pause:1", archive.display()),
    ])
}

impl NodeTools {
    /// The path of the pause image's archive.
    pub fn pause(&self) -> PathBuf {
        self.images.join("pause.tar")
    }
}
