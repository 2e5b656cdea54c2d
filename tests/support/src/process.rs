//! Processes that end with this one, and a folder that is removed with it.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Mutex, OnceLock};

use crate::Result;

/// A process that is killed when this is dropped, or when this process ends in any way.
#[derive(Debug)]
pub struct Child(std::process::Child);

type Job = Box<dyn FnOnce() + Send>;

/// Runs a job on a thread that lives as long as this process: the kernel kills a child when the
/// thread that started it ends.
fn on_spawner<T: Send + 'static>(job: impl FnOnce() -> T + Send + 'static) -> T {
    static SPAWNER: OnceLock<Mutex<Sender<Job>>> = OnceLock::new();
    let spawner = SPAWNER.get_or_init(|| {
        let (send, receive) = channel::<Job>();
        std::thread::spawn(move || receive.into_iter().for_each(|job| job()));
        Mutex::new(send)
    });
    let (send, receive) = channel();
    let job: Job = Box::new(move || {
        let _ = send.send(job());
    });
    spawner
        .lock()
        .expect("no panic while held")
        .send(job)
        .expect("the spawner lives");
    receive.recv().expect("the spawner answers")
}

impl Child {
    /// Starts the process, with its output in `log`.
    pub fn start(mut command: Command, log: &Path) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(|e| format!("{}: {e}", log.display()))?;
        let err = out.try_clone().map_err(|e| e.to_string())?;
        command.stdin(Stdio::null()).stdout(out).stderr(err);
        // SAFETY: prctl is async-signal-safe and touches no memory of ours.
        unsafe {
            command.pre_exec(
                || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                    0 => Ok(()),
                    _ => Err(std::io::Error::last_os_error()),
                },
            );
        }
        on_spawner(move || command.spawn())
            .map(Self)
            .map_err(|e| format!("{name}: {e}"))
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    /// The exit status, if it has ended.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.0.try_wait().ok().flatten()
    }

    /// Asks the process to end, as Kubernetes does.
    pub fn terminate(&self) {
        // SAFETY: the process is our child and not yet waited for, so the id is its own.
        unsafe { libc::kill(self.0.id().cast_signed(), libc::SIGTERM) };
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A folder that is removed when this process ends in any way.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
    /// A shell that waits for the end of its standard input, which is our end.
    janitor: std::process::Child,
}

impl Scratch {
    /// Makes the folder.
    pub fn new() -> Result<Self> {
        let path =
            std::env::temp_dir().join(format!("repofanout-{}-{}", std::process::id(), stamp()));
        std::fs::create_dir_all(&path).map_err(|e| format!("{}: {e}", path.display()))?;
        // Processes that end with this one may write for a moment more, so the janitor tries until
        // the folder is removed.
        let script =
            "cat >/dev/null; for i in 1 2 3 4 5; do rm -rf \"$1\" && exit; sleep 0.2; done";
        let mut command = Command::new("sh");
        command.args(["-c", script, "janitor"]).arg(&path);
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0);
        let janitor = on_spawner(move || command.spawn()).map_err(|e| format!("sh: {e}"))?;
        Ok(Self { path, janitor })
    }

    /// The path of the folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(self.janitor.stdin.take());
        let _ = self.janitor.wait();
    }
}

fn stamp() -> u128 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_micros())
}

/// A folder for the logs of this process. The folder stays; those of processes that have ended are
/// removed.
pub fn logs() -> Result<PathBuf> {
    // In a namespace of process ids of its own, the caller names the folder: ids say nothing there.
    if let Some(folder) = std::env::var_os("REPOFANOUT_LOGS") {
        return Ok(PathBuf::from(folder));
    }
    let all = crate::root().join("target").join("logs");
    for old in std::fs::read_dir(&all).into_iter().flatten().flatten() {
        let gone = !Path::new("/proc").join(old.file_name()).exists();
        if gone {
            let _ = std::fs::remove_dir_all(old.path());
        }
    }
    let own = all.join(std::process::id().to_string());
    std::fs::create_dir_all(&own).map_err(|e| format!("{}: {e}", own.display()))?;
    Ok(own)
}

/// A port that nobody listens on at this moment.
pub fn free_port() -> Result<u16> {
    let listener =
        std::net::TcpListener::bind(("127.0.0.1", 0)).map_err(|e| format!("no port: {e}"))?;
    listener
        .local_addr()
        .map(|a| a.port())
        .map_err(|e| e.to_string())
}
