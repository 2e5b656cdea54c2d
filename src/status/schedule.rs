//! When the next pass is due.

use std::time::Duration;

/// The waits that a pass collects: the shortest one decides when the next pass is due.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schedule(Option<Duration>);

impl Schedule {
    /// The next pass is due after this time at the latest; no time changes nothing.
    pub fn at_most(&mut self, wait: impl Into<Option<Duration>>) {
        self.0 = self.0.into_iter().chain(wait.into()).min();
    }

    /// The next pass is due at once.
    pub fn now(&mut self) {
        self.at_most(Duration::ZERO);
    }

    /// The shortest wait; none if nothing waits for its time.
    pub fn shortest(self) -> Option<Duration> {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_wait_decides() {
        let seconds = Duration::from_secs;
        let mut schedule = Schedule::default();
        assert_eq!(schedule.shortest(), None);
        schedule.at_most(None);
        assert_eq!(schedule.shortest(), None);
        schedule.at_most(seconds(30));
        schedule.at_most(seconds(600));
        assert_eq!(schedule.shortest(), Some(seconds(30)));
        let mut both = Schedule::default();
        both.at_most(seconds(10));
        both.at_most(schedule.shortest());
        assert_eq!(both.shortest(), Some(seconds(10)));
        both.now();
        both.at_most(seconds(5));
        assert_eq!(both.shortest(), Some(Duration::ZERO));
    }
}
