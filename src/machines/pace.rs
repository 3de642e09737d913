//! How fast datagrams may leave: a bucket that fills at a rate and is emptied by sending.

use std::time::{Duration, Instant};

/// A rate, kept over all who share it.
#[derive(Debug)]
pub(crate) struct Pace {
    /// The time one datagram takes at this rate.
    step: Duration,
    /// When the next may leave, had everyone kept to the rate.
    due: Option<Instant>,
}

/// How far the clock may run ahead of those who send: what timers round away (1 ms) and a thread loses (some more) is
/// made good afterwards. At 4,000 datagrams of 1,400 bytes a second this is a burst of 8, a tenth of what the receive
/// buffer of a system holds by default (212,992 bytes, and a datagram counts for 2,304).
const BURST: Duration = Duration::from_millis(2);

impl Pace {
    pub(crate) fn new(per_second: u32) -> Self {
        Self { step: Duration::from_secs(1) / per_second.max(1), due: None }
    }

    /// Takes another rate.
    pub(crate) fn set_rate(&mut self, per_second: u32) {
        self.step = Duration::from_secs(1) / per_second.max(1);
    }

    /// Books the next datagram; how long it has to wait.
    pub(crate) fn next(&mut self, now: Instant) -> Duration {
        let earliest = now.checked_sub(BURST).unwrap_or(now);
        let due = self.due.map_or(earliest, |due| due.max(earliest));
        self.due = Some(due + self.step);
        due.saturating_duration_since(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_goes_at_once_and_then_the_rate_is_kept() {
        let mut pace = Pace::new(1_000);
        let start = Instant::now();
        let mut now = start;
        let waits: Vec<u128> = (0..5).map(|_| pace.next(now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 1, 2]);
        now += Duration::from_secs(1);
        assert_eq!(pace.next(now), Duration::ZERO, "after a pause there is no more than a burst");
        let mut sent = 0;
        while now < start + Duration::from_secs(3) {
            now += pace.next(now);
            sent += 1;
        }
        assert!((1_995..=2_005).contains(&sent), "{sent}");
    }

    #[test]
    fn a_late_thread_makes_good_what_it_lost_within_bounds() {
        let mut pace = Pace::new(1_000);
        let mut now = Instant::now();
        let mut at_once = 0;
        for _ in 0..100 {
            now += Duration::from_millis(50);
            while pace.next(now).is_zero() {
                at_once += 1;
            }
        }
        assert!(at_once <= 100 * 4, "{at_once}");
    }

    #[test]
    fn another_rate_is_kept_from_the_next_datagram_on() {
        let mut pace = Pace::new(1_000_000);
        let now = Instant::now();
        pace.set_rate(100);
        let waits: Vec<u128> = (0..3).map(|_| pace.next(now).as_millis()).collect();
        assert_eq!(waits, [0, 8, 18]);
        pace.set_rate(0);
        pace.next(now);
        assert!(pace.next(now) > Duration::from_secs(1), "one a second is the least");
    }
}
