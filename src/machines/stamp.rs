//! Timestamps for points that have none: unique for a database, increasing for each producer.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

/// A clock that steps back by no more than this is waited for: stamps go on one unit after another. Ten seconds
/// cover what time synchronisation does; a longer step is a correction that points should follow.
const STEP_BACK_MAX_NANOS: i64 = 10_000_000_000;

/// Gives stamps in the unit of the database's precision.
#[derive(Debug)]
pub(crate) struct Stamper {
    last: AtomicI64,
    steps: AtomicU64,
    unit_nanos: i64,
    unique: bool,
}

impl Stamper {
    /// A stamper whose first stamp comes after `last` (in units), where there was one. With `unique` off several
    /// points may get one stamp: all that a coarse unit can offer.
    pub(crate) const fn new(unit_nanos: i64, last: Option<i64>, unique: bool) -> Self {
        let last = match last {
            Some(units) => units,
            None => i64::MIN,
        };
        Self { last: AtomicI64::new(last), steps: AtomicU64::new(0), unit_nanos, unique }
    }

    /// The stamp for a point pushed at `now_nanos` since 1970.
    pub(crate) fn stamp(&self, now_nanos: i64) -> i64 {
        // A division takes as long as all the rest.
        let now = if self.unit_nanos == 1 { now_nanos } else { now_nanos.div_euclid(self.unit_nanos) };
        if !self.unique {
            return now;
        }
        let mut last = self.last.load(Ordering::Relaxed);
        loop {
            let behind = last.saturating_sub(now).saturating_mul(self.unit_nanos);
            let stepped = last != i64::MIN && behind > STEP_BACK_MAX_NANOS;
            let next = if now > last || stepped { now } else { last + 1 };
            match self.last.compare_exchange_weak(last, next, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => {
                    if stepped {
                        self.steps.fetch_add(1, Ordering::Relaxed);
                    }
                    return next;
                }
                Err(changed) => last = changed,
            }
        }
    }

    /// The last stamp given, in units; `None` if none was.
    pub(crate) fn last(&self) -> Option<i64> {
        let last = self.last.load(Ordering::Relaxed);
        (last != i64::MIN).then_some(last)
    }

    /// How often the clock stepped back further than can be waited for.
    pub(crate) fn steps_back_total(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn stamps_follow_the_clock_and_never_repeat() {
        let stamper = Stamper::new(1, None, true);
        assert_eq!([5, 5, 5, 9, 8].map(|now| stamper.stamp(now)), [5, 6, 7, 9, 10]);
        assert_eq!(stamper.last(), Some(10));
    }

    #[test]
    fn a_step_back_of_ten_seconds_holds_and_a_longer_one_is_followed() {
        let stamper = Stamper::new(1, None, true);
        let noon = 100 * SECOND;
        stamper.stamp(noon);
        assert_eq!(stamper.stamp(noon - 10 * SECOND), noon + 1);
        assert_eq!(stamper.steps_back_total(), 0);
        assert_eq!(stamper.stamp(noon - 11 * SECOND), noon - 11 * SECOND);
        assert_eq!(stamper.steps_back_total(), 1);
    }

    #[test]
    fn stamps_go_on_after_those_of_an_earlier_life() {
        let stamper = Stamper::new(1, Some(100 * SECOND), true);
        assert_eq!(stamper.stamp(99 * SECOND), 100 * SECOND + 1);
    }

    #[test]
    fn coarse_stamps_round_down_also_before_1970() {
        let stamper = Stamper::new(SECOND, None, false);
        assert_eq!([-1, 0, SECOND - 1, SECOND].map(|now| stamper.stamp(now)), [-1, 0, 0, 1]);
    }

    #[test]
    fn threads_never_share_a_stamp() {
        let stamper = Stamper::new(1, None, true);
        let mut all: Vec<i64> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4)
                .map(|_| {
                    scope.spawn(|| {
                        let stamps: Vec<_> = (0..1000).map(|_| stamper.stamp(7)).collect();
                        assert!(stamps.is_sorted());
                        stamps
                    })
                })
                .collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 4000);
    }
}
