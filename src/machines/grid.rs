//! Moments that many have in common, so that all who can wait a little are woken by one timer.
//!
//! A thread that has nothing to do is woken once for each moment somebody waits for, however little is done then. A thousand
//! who look after something once a minute, each a minute after it began, wake it a thousand times a minute; where all look at
//! the full minute they wake it once.

use std::time::{Duration, Instant};

/// The multiples of a step, for any step, counted from one moment that is the same for all.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Grid {
    origin: Instant,
}

impl Grid {
    pub(crate) const fn new(origin: Instant) -> Self {
        Self { origin }
    }

    /// The first multiple of the step that does not come before `earliest`: less than a step after it. Without a step it is
    /// `earliest` itself, and so it is where the clock ends before the next multiple.
    pub(crate) fn at_or_after(self, earliest: Instant, step: Duration) -> Instant {
        let step_nanos = step.as_nanos();
        if step_nanos == 0 {
            return earliest;
        }
        // Where a test moves the clock, the origin may lie ahead.
        let wait_nanos = match earliest.checked_duration_since(self.origin) {
            Some(since) => (step_nanos - since.as_nanos() % step_nanos) % step_nanos,
            None => self.origin.duration_since(earliest).as_nanos() % step_nanos,
        };
        let wait = u64::try_from(wait_nanos).ok().map(Duration::from_nanos);
        wait.and_then(|wait| earliest.checked_add(wait)).unwrap_or(earliest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEP: Duration = Duration::from_secs(60);

    #[test]
    fn all_who_ask_within_a_step_are_told_the_same_moment() {
        let origin = Instant::now() + 10 * STEP;
        let grid = Grid::new(origin);
        for (after_origin_ms, steps) in [(0, 0), (1, 1), (59_999, 1), (60_000, 1), (60_001, 2)] {
            let earliest = origin + Duration::from_millis(after_origin_ms);
            assert_eq!(grid.at_or_after(earliest, STEP), origin + steps * STEP, "{after_origin_ms}");
        }
        for before_origin_ms in [1, 59_999, 60_000, 60_001] {
            let earliest = origin - Duration::from_millis(before_origin_ms);
            let moment = grid.at_or_after(earliest, STEP);
            assert!(moment >= earliest && moment - earliest < STEP, "{before_origin_ms}");
            assert_eq!((origin - moment).as_nanos() % STEP.as_nanos(), 0, "{before_origin_ms}");
        }
    }

    #[test]
    fn a_finer_step_goes_through_the_moments_of_a_coarser_one() {
        let grid = Grid::new(Instant::now());
        let earliest = grid.origin + Duration::from_secs(55);
        assert_eq!(grid.at_or_after(earliest, STEP / 6), grid.at_or_after(earliest, STEP));
    }

    #[test]
    fn steps_of_nothing_and_of_for_ever_are_taken() {
        let grid = Grid::new(Instant::now());
        let earliest = grid.origin + STEP;
        assert_eq!(grid.at_or_after(earliest, Duration::ZERO), earliest);
        assert_eq!(grid.at_or_after(earliest, Duration::MAX), earliest);
        assert_eq!(grid.at_or_after(earliest, Duration::from_nanos(1)), earliest);
    }
}
