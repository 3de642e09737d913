//! Notices when the wall clock was set, since ages are worthless then.

use std::time::{Duration, Instant, SystemTime};

/// A smaller step is ordinary: a clock that is slewed or corrected now and then.
const STEP_MAX: Duration = Duration::from_secs(3_600);

/// Compares the wall clock with the steady one.
#[derive(Debug)]
pub(super) struct StepWatch {
    wall_ms: i64,
    steady: Instant,
}

impl StepWatch {
    pub(super) fn new(wall_ms: i64, steady: Instant) -> Self {
        Self { wall_ms, steady }
    }

    /// Whether the wall clock went more than an hour astray since the last call.
    pub(super) fn stepped(&mut self, wall_ms: i64, steady: Instant) -> bool {
        let passed = millis(steady.saturating_duration_since(self.steady));
        let astray = wall_ms.saturating_sub(self.wall_ms).saturating_sub(passed);
        *self = Self { wall_ms, steady };
        is_step(astray)
    }
}

/// Whether the clock is more than an hour behind what it was when the file was last written.
pub(super) fn went_back(wall_ms: i64, last_ms: i64) -> bool {
    wall_ms < last_ms && is_step(wall_ms.saturating_sub(last_ms))
}

/// Milliseconds since 1970.
pub(super) fn unix_ms(now: SystemTime) -> i64 {
    match now.duration_since(SystemTime::UNIX_EPOCH) {
        Ok(after) => millis(after),
        Err(before) => -millis(before.duration()),
    }
}

pub(super) fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

fn is_step(astray_ms: i64) -> bool {
    astray_ms.unsigned_abs() > STEP_MAX.as_millis() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_clock_that_is_an_hour_astray_has_stepped() {
        let start = Instant::now();
        let mut watch = StepWatch::new(0, start);
        let day = Duration::from_secs(86_400);
        assert!(!watch.stepped(millis(day), start + day));
        assert!(!watch.stepped(millis(day) + 3_600_000, start + day));
        assert!(watch.stepped(millis(day) + 7_200_001, start + day));
        assert!(watch.stepped(0, start + day));
        assert!(!watch.stepped(1, start + day));
    }
}
