//! Decides when the next pass is due.

use std::time::Duration;

/// Collects delays; the shortest one decides.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule {
    wait: Option<Duration>,
    full: bool,
}

impl Schedule {
    /// Makes the next pass due within this time.
    pub fn within(&mut self, wait: Duration) {
        self.wait = Some(self.wait.map_or(wait, |known| known.min(wait)));
    }

    /// Makes the next pass due within this time, and makes it observe everything.
    pub fn fully_within(&mut self, wait: Duration) {
        self.within(wait);
        self.full = true;
    }

    /// Includes the delays of another schedule.
    pub fn include(&mut self, other: Self) {
        other.wait.into_iter().for_each(|wait| self.within(wait));
        self.full |= other.full;
    }

    /// Returns whether a delay was set.
    pub fn waits(&self) -> bool {
        self.wait.is_some()
    }

    /// Returns whether the next pass has to observe everything.
    pub fn is_full(&self) -> bool {
        self.full
    }

    /// Returns when the next pass is due: after the shortest delay, and never later than `usual`.
    pub fn due(&self, usual: Duration) -> Duration {
        self.wait.map_or(usual, |wait| wait.min(usual))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_delay_decides_and_one_full_observation_is_enough() {
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
            "the usual time is never exceeded"
        );
    }
}
