//! When a pass is due again.

use std::time::Duration;

/// Collects waits: the shortest one counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    wait: Option<Duration>,
    full: bool,
}

impl Schedule {
    /// The next pass is due within this time.
    pub fn within(&mut self, wait: Duration) {
        self.wait = Some(self.wait.map_or(wait, |known| known.min(wait)));
    }

    /// The next pass is due within this time, and has to observe everything.
    pub fn fully_within(&mut self, wait: Duration) {
        self.within(wait);
        self.full = true;
    }

    /// Takes over what another schedule asks for.
    pub fn include(&mut self, other: Self) {
        other.wait.into_iter().for_each(|wait| self.within(wait));
        self.full |= other.full;
    }

    /// Whether something waits for its time.
    pub fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// Whether the next pass has to observe everything.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// When the next pass is due, if it is due within `usual` where nothing waits.
    pub fn due(&self, usual: Duration) -> Duration {
        self.wait.map_or(usual, |wait| wait.min(usual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_wait_counts_and_one_full_observation_is_enough() {
        let seconds = Duration::from_secs;
        let mut schedule = Schedule::default();
        assert_eq!(
            (schedule.due(seconds(60)), schedule.is_full()),
            (seconds(60), false)
        );
        schedule.within(seconds(30));
        schedule.within(seconds(90));
        assert_eq!(
            (schedule.due(seconds(60)), schedule.waits()),
            (seconds(30), true)
        );
        let mut other = Schedule::default();
        other.fully_within(seconds(5));
        schedule.include(other);
        assert_eq!(
            (schedule.due(seconds(60)), schedule.is_full()),
            (seconds(5), true)
        );
        assert_eq!(
            schedule.due(seconds(1)),
            seconds(1),
            "what is usual is never put off"
        );
    }
}
