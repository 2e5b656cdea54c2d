//! ministack: S3, SNS, SQS, IAM, STS and EventBridge on one port.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::cache::Tools;
use crate::process::{Child, free_port};
use crate::{Result, until};

/// Starts ministack, waits until it is ready, and answers the process and `host:port`.
pub async fn start(tools: &Tools, scratch: &Path, logs: &Path) -> Result<(Child, String)> {
    let port = free_port()?;
    let folder = scratch.join("ministack");
    std::fs::create_dir_all(&folder).map_err(|e| format!("{}: {e}", folder.display()))?;
    let mut command = Command::new(&tools.python);
    command
        .args(["-m", "ministack"])
        .current_dir(&folder)
        .env("TMPDIR", &folder)
        .env("HOME", &folder);
    command
        .env("GATEWAY_PORT", port.to_string())
        .env("BIND_HOST", "127.0.0.1")
        .env("LOG_LEVEL", "WARNING");
    command
        .env("SERVICES", "s3,sns,sqs,iam,sts,events")
        .env("PYTHONDONTWRITEBYTECODE", "1");
    let log = logs.join("ministack.log");
    let child = Child::start(command, &log)?;
    let host = format!("127.0.0.1:{port}");
    until(Duration::from_secs(60), || ready(&host))
        .await
        .map_err(|e| format!("ministack is not ready, see {}: {e}", log.display()))?;
    Ok((child, host))
}

async fn ready(host: &str) -> Result<()> {
    let mut stream = TcpStream::connect(host).await.map_err(|e| e.to_string())?;
    let request =
        format!("GET /_ministack/ready HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream
        .write_all(request.as_bytes())
        .await
        .map_err(|e| e.to_string())?;
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .map_err(|e| e.to_string())?;
    if answer.starts_with("HTTP/1.1 200") {
        Ok(())
    } else {
        Err(answer.lines().next().unwrap_or_default().to_owned())
    }
}
