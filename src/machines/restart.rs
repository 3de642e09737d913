//! Restart intensity: how many restarts in how short a time are still trouble, and from when on they are a fault.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// At most `restarts` restarts `within` any span of time; one more and the supervisor gives up.
///
/// The default is 5 in 30 s: a child that fails at once uses it up in a few seconds of growing delays, one that
/// fails every ten seconds never does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartIntensity {
    restarts: u32,
    within: Duration,
}

impl RestartIntensity {
    /// `RestartIntensity::new(0, _)` gives up at the first death.
    #[must_use]
    pub const fn new(restarts: u32, within: Duration) -> Self {
        Self { restarts, within }
    }

    /// How many restarts are allowed.
    #[must_use]
    pub const fn restarts(&self) -> u32 {
        self.restarts
    }

    /// In how long a time.
    #[must_use]
    pub const fn within(&self) -> Duration {
        self.within
    }
}

impl Default for RestartIntensity {
    fn default() -> Self {
        Self::new(5, Duration::from_secs(30))
    }
}

/// Counts restarts against an intensity.
#[derive(Clone, Debug)]
pub(crate) struct RestartBudget {
    intensity: RestartIntensity,
    spent: VecDeque<Instant>,
}

impl RestartBudget {
    pub(crate) fn new(intensity: RestartIntensity) -> Self {
        Self { intensity, spent: VecDeque::new() }
    }

    /// Asks for one restart at `now`: granted and noted, or refused because the intensity is used up.
    pub(crate) fn spend(&mut self, now: Instant) -> bool {
        self.forget_before(now);
        let granted = self.spent.len() < self.intensity.restarts as usize;
        if granted {
            self.spent.push_back(now);
        }
        granted
    }

    /// Forgets all restarts: a new life begins.
    pub(crate) fn refill(&mut self) {
        self.spent.clear();
    }

    fn forget_before(&mut self, now: Instant) {
        let within = self.intensity.within;
        while self.spent.front().is_some_and(|at| now.saturating_duration_since(*at) > within) {
            self.spent.pop_front();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition, word for word: granted when fewer than `restarts` were granted in the span before.
    fn granted_by_definition(asked: &[u64], restarts: usize, within: u64) -> Vec<bool> {
        let mut granted: Vec<u64> = Vec::new();
        asked
            .iter()
            .map(|at| {
                let yes = granted.iter().filter(|earlier| at - **earlier <= within).count() < restarts;
                if yes {
                    granted.push(*at);
                }
                yes
            })
            .collect()
    }

    #[test]
    fn every_pattern_of_deaths_is_judged_by_the_definition() {
        let origin = Instant::now();
        for restarts in 0..4_u32 {
            for within in 0..5_u64 {
                // All ways to place up to ten deaths on ten consecutive seconds, with a doubled one among them.
                for pattern in 0..1_u32 << 10 {
                    let mut asked: Vec<u64> = (0..10).filter(|second| pattern & 1 << second != 0).collect();
                    if let Some(last) = asked.last().copied() {
                        asked.push(last);
                    }
                    let intensity = RestartIntensity::new(restarts, Duration::from_secs(within));
                    let mut budget = RestartBudget::new(intensity);
                    let judged: Vec<bool> =
                        asked.iter().map(|at| budget.spend(origin + Duration::from_secs(*at))).collect();
                    assert_eq!(judged, granted_by_definition(&asked, restarts as usize, within), "{asked:?}");
                }
            }
        }
    }

    #[test]
    fn a_refill_grants_the_whole_intensity_again() {
        let now = Instant::now();
        let mut budget = RestartBudget::new(RestartIntensity::default());
        assert_eq!((0..6).filter(|_| budget.spend(now)).count(), 5);
        budget.refill();
        assert_eq!((0..6).filter(|_| budget.spend(now)).count(), 5);
    }

    #[test]
    fn a_clock_that_steps_back_grants_nothing_extra() {
        let now = Instant::now();
        let mut budget = RestartBudget::new(RestartIntensity::new(1, Duration::from_secs(1)));
        assert!(budget.spend(now + Duration::from_secs(9)));
        assert!(!budget.spend(now));
    }

    #[test]
    fn an_intensity_says_what_it_allows() {
        let intensity = RestartIntensity::new(7, Duration::from_secs(9));
        assert_eq!((intensity.restarts(), intensity.within()), (7, Duration::from_secs(9)));
        let default = RestartIntensity::default();
        assert_eq!((default.restarts(), default.within()), (5, Duration::from_secs(30)));
    }
}
