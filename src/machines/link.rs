//! Whether the server answers, and when it is asked again.
//!
//! One link a database, shared by its senders and outliving them: a sender that is rebuilt does not begin again with
//! short delays. While the link is down one request at a time probes it.

use std::time::{Duration, Instant};

use super::backoff::Backoff;
use super::later;
use super::verdict::Trouble;
use crate::values::trouble::TroubleKind;

/// Attempts follow each other after 0.1 s, 0.4 s, 1.6 s, … at the most, drawn with full jitter: a fleet of writers
/// does not return in step. Growing by four keeps a dead server to some six requests in the first half minute.
const FACTOR: u32 = 4;

/// What is said of the link at most once in this time while it stays down.
const REMINDER: Duration = Duration::from_secs(60);

/// A `Retry-After` beyond this is taken for a mistake: ten minutes are what the slowest quota window asks for.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(600);

/// With so many requests at once a server has recovered.
const FULL_SPEED: usize = 64;

/// The state of the way to the server.
#[derive(Debug)]
pub(crate) struct Link {
    down: Option<Down>,
    backoff: Backoff,
    failures_total: u64,
    /// How many requests a server that has just come back is given at once.
    recovering: Option<usize>,
}

#[derive(Debug)]
struct Down {
    kind: TroubleKind,
    words: String,
    since: Instant,
    failures: u64,
    not_before: Instant,
    told: Instant,
}

/// What a failure or a success has changed, to be said once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum LinkNews {
    /// The link went down, or is down for another reason than before.
    Down { kind: TroubleKind, words: String },
    /// Still down: said once a minute.
    StillDown { kind: TroubleKind, words: String, failures: u64, for_: Duration },
    /// The server takes points again.
    Up { failures: u64, after: Duration },
}

impl Link {
    pub(crate) fn new(backoff_min: Duration, backoff_max: Duration) -> Self {
        Self {
            down: None,
            backoff: Backoff::new(backoff_min, backoff_max, FACTOR),
            failures_total: 0,
            recovering: None,
        }
    }

    /// Notes that the server took a batch.
    pub(crate) fn succeed(&mut self, now: Instant) -> Option<LinkNews> {
        self.recovering =
            self.recovering.map(|requests| requests * 2).filter(|requests| *requests < FULL_SPEED);
        let down = self.down.take()?;
        self.backoff.reset();
        self.recovering = Some(2);
        Some(LinkNews::Up { failures: down.failures, after: now - down.since })
    }

    /// Notes a failure that says nothing about the data. `random` is uniform in 0..1.
    pub(crate) fn fail(&mut self, trouble: &Trouble, random: f64, now: Instant) -> Option<LinkNews> {
        self.failures_total += 1;
        let jittered = self.backoff.next_delay(random);
        let delay = trouble.retry_after.map_or(jittered, |asked| asked.min(RETRY_AFTER_MAX).max(jittered));
        let kind = trouble.kind;
        let words = trouble.words.clone();
        let Some(down) = &mut self.down else {
            self.down = Some(Down {
                kind,
                words: words.clone(),
                since: now,
                failures: 1,
                not_before: later(now, delay),
                told: now,
            });
            return Some(LinkNews::Down { kind, words });
        };
        down.failures += 1;
        down.not_before = later(now, delay);
        let changed = down.kind != kind;
        (down.kind, down.words) = (kind, words.clone());
        if !changed && now - down.told < REMINDER {
            return None;
        }
        down.told = now;
        Some(if changed {
            LinkNews::Down { kind, words }
        } else {
            LinkNews::StillDown { kind, words, failures: down.failures, for_: now - down.since }
        })
    }

    /// When the next request may be made; `None` if one may be made at once.
    pub(crate) fn not_before(&self, now: Instant) -> Option<Instant> {
        self.down.as_ref().map(|down| down.not_before).filter(|at| *at > now)
    }

    /// The trouble that keeps the link down, and the server's or the system's words for it.
    pub(crate) fn trouble(&self) -> Option<(TroubleKind, &str)> {
        self.down.as_ref().map(|down| (down.kind, down.words.as_str()))
    }

    /// How many requests may be under way at once. While the server is down one probes it; when it is back they become
    /// more with every success, so that it is not buried under what has gathered.
    pub(crate) const fn requests_max(&self) -> usize {
        match self.recovering {
            _ if self.is_down() => 1,
            Some(requests) => requests,
            None => usize::MAX,
        }
    }

    pub(crate) const fn is_down(&self) -> bool {
        self.down.is_some()
    }

    /// Requests that failed for a reason that says nothing about the data, ever.
    pub(crate) const fn failures_total(&self) -> u64 {
        self.failures_total
    }

    /// Forgets the wait before the next attempt: the configuration changed, so it may go better now.
    pub(crate) fn try_now(&mut self, now: Instant) {
        if let Some(down) = &mut self.down {
            down.not_before = now;
        }
        self.backoff.reset();
    }

    /// Lets the next request be made at once, without taking back what the failures before it mean for the one after.
    pub(crate) const fn probe_now(&mut self, now: Instant) {
        if let Some(down) = &mut self.down {
            down.not_before = now;
        }
    }

    /// Takes another range of delays from the next failure on.
    pub(crate) fn set_delays(&mut self, backoff_min: Duration, backoff_max: Duration) {
        self.backoff = Backoff::new(backoff_min, backoff_max, FACTOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trouble(kind: TroubleKind, retry_after: Option<Duration>) -> Trouble {
        Trouble { kind, status: None, words: "refused".into(), retry_after, may_be_data: false }
    }

    fn link() -> Link {
        Link::new(Duration::from_millis(100), Duration::from_secs(60))
    }

    #[test]
    fn delays_grow_by_four_up_to_the_cap_and_start_again_after_a_success() {
        let mut link = link();
        let now = Instant::now();
        let refused = trouble(TroubleKind::Unreachable, None);
        let mut delays = Vec::new();
        for _ in 0..7 {
            link.fail(&refused, 1.0, now);
            delays.push((link.not_before(now).unwrap() - now).as_millis());
        }
        assert_eq!(delays, [100, 400, 1600, 6400, 25_600, 60_000, 60_000]);
        link.succeed(now);
        assert_eq!(link.not_before(now), None);
        link.fail(&refused, 1.0, now);
        assert_eq!(link.not_before(now).unwrap() - now, Duration::from_millis(100));
    }

    #[test]
    fn a_request_to_wait_is_heard_and_clamped() {
        let now = Instant::now();
        for (asked, waits) in [(2, 2), (601, 600), (u64::MAX, 600)] {
            let mut link = link();
            link.fail(&trouble(TroubleKind::Unavailable, Some(Duration::from_secs(asked))), 0.5, now);
            assert_eq!(link.not_before(now).unwrap() - now, Duration::from_secs(waits));
        }
    }

    #[test]
    fn a_server_that_is_back_is_given_more_with_every_success() {
        let mut link = link();
        let now = Instant::now();
        assert_eq!(link.requests_max(), usize::MAX);
        link.fail(&trouble(TroubleKind::Unavailable, None), 0.5, now);
        assert_eq!(link.requests_max(), 1);
        let mut allowed = Vec::new();
        for _ in 0..6 {
            link.succeed(now);
            allowed.push(link.requests_max());
        }
        assert_eq!(allowed, [2, 4, 8, 16, 32, usize::MAX]);
    }

    #[test]
    fn each_state_is_told_once_and_then_once_a_minute() {
        let mut link = link();
        let start = Instant::now();
        let at = |secs| start + Duration::from_secs(secs);
        let refused = trouble(TroubleKind::Unreachable, None);
        assert!(matches!(link.fail(&refused, 0.5, at(0)), Some(LinkNews::Down { .. })));
        assert_eq!(link.fail(&refused, 0.5, at(59)), None);
        assert!(matches!(link.fail(&refused, 0.5, at(60)), Some(LinkNews::StillDown { failures: 3, .. })));
        assert_eq!(link.fail(&refused, 0.5, at(61)), None);
        let denied = trouble(TroubleKind::Unauthorized, None);
        assert!(matches!(link.fail(&denied, 0.5, at(62)), Some(LinkNews::Down { .. })));
        let up = LinkNews::Up { failures: 5, after: Duration::from_secs(63) };
        assert_eq!(link.succeed(at(63)), Some(up));
        assert_eq!(link.succeed(at(64)), None);
        assert_eq!(link.failures_total(), 5);
    }

    #[test]
    fn whoever_hopes_that_it_goes_better_now_asks_at_once() {
        let now = Instant::now();
        let refused = trouble(TroubleKind::Unreachable, None);
        for (all_is_new, next_delay) in [(true, 100), (false, 1_600)] {
            let mut link = link();
            assert_eq!((link.is_down(), link.trouble()), (false, None));
            link.fail(&refused, 1.0, now);
            link.fail(&refused, 1.0, now);
            assert_eq!((link.is_down(), link.trouble()), (true, Some((TroubleKind::Unreachable, "refused"))));
            assert!(link.not_before(now).is_some());
            if all_is_new {
                link.try_now(now)
            } else {
                link.probe_now(now)
            }
            assert_eq!(link.not_before(now), None);
            assert!(link.is_down(), "that is for the server to say");
            link.fail(&refused, 1.0, now);
            assert_eq!(link.not_before(now).unwrap() - now, Duration::from_millis(next_delay));
        }
    }

    #[test]
    fn other_delays_are_taken_from_the_next_failure_on() {
        let now = Instant::now();
        let mut link = link();
        link.set_delays(Duration::from_secs(7), Duration::from_secs(9));
        link.fail(&trouble(TroubleKind::Unreachable, None), 1.0, now);
        assert_eq!(link.not_before(now).unwrap() - now, Duration::from_secs(7));
    }
}
