//! The provider of repositories: bare git repositories whose hook reports pushes to AWS.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::Result;

/// All repositories, each as `owner/name.git` in one folder.
pub struct Repositories {
    folder: PathBuf,
    aws: SocketAddr,
}

impl Repositories {
    /// Keeps repositories in `folder`, with an app that reports pushes to `aws`.
    pub fn new(folder: PathBuf, aws: SocketAddr) -> Result<Self> {
        std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
        Ok(Self { folder, aws })
    }

    /// Creates an empty repository `owner/name`; answers its path for `git clone`.
    ///
    /// # Errors
    /// git failed.
    pub async fn create(&self, repository: &str) -> Result<PathBuf> {
        let bare = self.path(repository);
        std::fs::create_dir_all(&bare).map_err(|e| format!("{}: {e}", bare.display()))?;
        git(
            &bare,
            &["init", "--quiet", "--bare", "--initial-branch=main", "."],
        )
        .await?;
        let hook = bare.join("hooks/post-receive");
        let script = format!(
            "#!/bin/sh\nwhile read old new ref; do\n  case $old$new in 0000000*) change=OPEN;; \
                 *0000000) change=CLOSED;; *) change=UPDATED;; esac\n\
             python3 -c 'import sys, urllib.request as r, urllib.parse as p\n\
             r.urlopen(r.Request(\"http://{}/_control/pushed?\" + \
             p.urlencode(dict(repository=sys.argv[1], reference=sys.argv[2], \
             change=sys.argv[3])), method=\"POST\"))' \
             '{repository}' \"${{ref#refs/heads/}}\" $change\ndone\n",
            self.aws
        );
        std::fs::create_dir_all(hook.parent().expect("a folder")).map_err(|e| e.to_string())?;
        std::fs::write(&hook, script).map_err(|e| format!("{}: {e}", hook.display()))?;
        std::fs::set_permissions(&hook, std::fs::Permissions::from_mode(0o755))
            .map_err(|e| e.to_string())?;
        Ok(bare)
    }

    /// The path of the bare repository, for `git clone`.
    pub fn path(&self, repository: &str) -> PathBuf {
        self.folder.join(format!("{repository}.git"))
    }

    /// Commits files, or deletes those without content, and pushes the commit; answers the commit.
    ///
    /// # Errors
    /// git failed.
    pub async fn push(
        &self,
        repository: &str,
        branch: &str,
        files: &[(&str, Option<&str>)],
        message: &str,
    ) -> Result<String> {
        let bare = self.path(repository);
        let work = self.folder.join(format!("{repository}.work"));
        if !work.exists() {
            std::fs::create_dir_all(&work).map_err(|e| e.to_string())?;
            git(&work, &["init", "--quiet", "--initial-branch=main", "."]).await?;
            git(
                &work,
                &["remote", "add", "origin", &bare.display().to_string()],
            )
            .await?;
        }
        if git(&work, &["checkout", "--quiet", branch]).await.is_err() {
            git(&work, &["checkout", "--quiet", "-B", branch]).await?;
        }
        for (path, content) in files {
            let path = work.join(path);
            match content {
                Some(content) => {
                    std::fs::create_dir_all(path.parent().expect("a folder"))
                        .map_err(|e| e.to_string())?;
                    std::fs::write(&path, content).map_err(|e| e.to_string())?;
                }
                None => std::fs::remove_file(&path).map_err(|e| e.to_string())?,
            }
        }
        git(&work, &["add", "--all"]).await?;
        git(
            &work,
            &["commit", "--quiet", "--allow-empty", "--message", message],
        )
        .await?;
        git(&work, &["push", "--quiet", "origin", branch]).await?;
        Ok(git(&work, &["rev-parse", "HEAD"]).await?.trim().to_owned())
    }

    /// Points a reference of the repository, such as `refs/tags/v1`, at the head of a branch; the
    /// app reports it.
    ///
    /// # Errors
    /// git failed.
    pub async fn refer(&self, repository: &str, branch: &str, reference: &str) -> Result<()> {
        let work = self.folder.join(format!("{repository}.work"));
        git(
            &work,
            &[
                "push",
                "--quiet",
                "--force",
                "origin",
                &format!("{branch}:{reference}"),
            ],
        )
        .await
        .map(|_| ())
    }
}

async fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = tokio::process::Command::new("git");
    command.arg("-C").arg(folder).args([
        "-c",
        "user.name=Dev",
        "-c",
        "user.email=dev@example.com",
        "-c",
        "commit.gpgsign=false",
    ]);
    command
        .args(arguments)
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("NO_PROXY", "127.0.0.1")
        .env("no_proxy", "127.0.0.1");
    let output = command.output().await.map_err(|e| format!("git: {e}"))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!(
        "git {}: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    ))
}
