//! Growing delays with full jitter.
//!
//! The delay before try *n* is drawn evenly from zero to `min(cap, base × factor^n)`. Of the usual jitters the
//! full one spreads a crowd best: a thousand writers that lost the same server do not come back together.

use std::time::Duration;

/// How long to wait before the next try. Holds no clock and no dice: the caller brings the random number.
#[derive(Clone, Debug)]
pub(crate) struct Backoff {
    base: Duration,
    cap: Duration,
    factor: u32,
    ceiling: Duration,
}

impl Backoff {
    /// The first delay is at most `base`, each later one at most `factor` times the one before, none above `cap`.
    pub(crate) fn new(base: Duration, cap: Duration, factor: u32) -> Self {
        Self { base, cap, factor, ceiling: base.min(cap) }
    }

    /// The next delay; `random` is drawn evenly from 0 to 1. What is not a number in that range counts as its
    /// nearer end, or as 1.
    pub(crate) fn next_delay(&mut self, random: f64) -> Duration {
        let delay = fraction(self.ceiling, random);
        self.ceiling = self.ceiling.saturating_mul(self.factor).clamp(self.base.min(self.cap), self.cap);
        delay
    }

    /// Begins again at the base: the last try was a success.
    pub(crate) fn reset(&mut self) {
        self.ceiling = self.base.min(self.cap);
    }
}

fn fraction(whole: Duration, part: f64) -> Duration {
    let part = if part.is_nan() { 1.0 } else { part.clamp(0.0, 1.0) };
    Duration::try_from_secs_f64(whole.as_secs_f64() * part).unwrap_or(whole).min(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn ceilings(mut backoff: Backoff, tries: usize) -> Vec<Duration> {
        (0..tries).map(|_| backoff.next_delay(1.0)).collect()
    }

    #[test]
    fn ceilings_grow_by_the_factor_up_to_the_cap() {
        let millis = |list: &[u64]| list.iter().map(|ms| Duration::from_millis(*ms)).collect::<Vec<_>>();
        let restarts = Backoff::new(SECOND / 10, 30 * SECOND, 2);
        assert_eq!(
            ceilings(restarts, 11),
            millis(&[100, 200, 400, 800, 1600, 3200, 6400, 12_800, 25_600, 30_000, 30_000])
        );
        let sends = Backoff::new(SECOND / 10, 60 * SECOND, 4);
        assert_eq!(ceilings(sends, 7), millis(&[100, 400, 1600, 6400, 25_600, 60_000, 60_000]));
    }

    #[test]
    fn a_delay_lies_between_zero_and_its_ceiling() {
        for step in 0..=1000 {
            let random = f64::from(step) / 1000.0;
            let mut backoff = Backoff::new(SECOND, 8 * SECOND, 2);
            for ceiling in [SECOND, 2 * SECOND, 4 * SECOND, 8 * SECOND, 8 * SECOND] {
                let delay = backoff.next_delay(random);
                assert!(delay <= ceiling);
                assert!((delay.as_secs_f64() - ceiling.as_secs_f64() * random).abs() < 1e-6);
            }
        }
    }

    #[test]
    fn reset_begins_again_at_the_base() {
        let mut backoff = Backoff::new(SECOND, 60 * SECOND, 2);
        backoff.next_delay(1.0);
        backoff.next_delay(1.0);
        backoff.reset();
        assert_eq!(ceilings(backoff, 2), [SECOND, 2 * SECOND]);
    }

    #[test]
    fn odd_settings_and_odd_dice_do_no_harm() {
        assert_eq!(ceilings(Backoff::new(Duration::ZERO, SECOND, 2), 3), [Duration::ZERO; 3]);
        assert_eq!(ceilings(Backoff::new(10 * SECOND, SECOND, 2), 3), [SECOND; 3]);
        assert_eq!(ceilings(Backoff::new(SECOND, 9 * SECOND, 0), 3), [SECOND; 3]);
        assert_eq!(ceilings(Backoff::new(Duration::MAX, Duration::MAX, u32::MAX), 2), [Duration::MAX; 2]);
        for random in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 2.0] {
            assert!(Backoff::new(SECOND, SECOND, 2).next_delay(random) <= SECOND);
        }
    }
}
