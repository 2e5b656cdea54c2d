//! Logs.

use tracing_subscriber::EnvFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::LogFormat;

/// Sends logs to standard error.
///
/// # Errors
/// Says which directive cannot be read.
pub fn init(directives: &str, format: LogFormat) -> Result<(), String> {
    let filter =
        EnvFilter::try_new(directives).map_err(|e| format!("--log {directives}: {e}; write a level such as info"))?;
    let registry = tracing_subscriber::registry().with(filter);
    match format {
        LogFormat::Text => registry.with(tracing_subscriber::fmt::layer().with_writer(std::io::stderr)).init(),
        LogFormat::Json => registry.with(tracing_subscriber::fmt::layer().json().with_writer(std::io::stderr)).init(),
    }
    Ok(())
}
