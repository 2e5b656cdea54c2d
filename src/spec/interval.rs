//! `spec.interval`.

use std::time::Duration;

use crate::domain::refusal::{Refusal, invalid};

/// The time between two full observations.
pub fn interval(text: Option<&str>) -> Result<Duration, Refusal> {
    let Some(text) = text else {
        return Ok(Duration::from_secs(600));
    };
    let bad = || {
        invalid(format!(
            "interval: '{text}' is no duration from 1m to 168h; write a duration such as 10m"
        ))
    };
    let span: jiff::SignedDuration = text.parse().map_err(|_| bad())?;
    let duration = Duration::try_from(span).map_err(|_| bad())?;
    if (60..=168 * 3600).contains(&duration.as_secs()) {
        Ok(duration)
    } else {
        Err(bad())
    }
}
