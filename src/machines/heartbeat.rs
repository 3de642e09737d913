//! The heartbeat of one child: finds the child that is alive and stuck.
//!
//! The watched side counts its progress. The watcher wakes it, remembers the count, and looks again a timeout
//! later. A first look that finds no progress only makes the child suspect, and wakes it once more: when the
//! watcher's own thread was held up, its neighbours had no chance to answer either, and must not pay for that.
//! So a stuck child is found between one timeout and two and a half after it got stuck.

use std::time::{Duration, Instant};

use super::later;

/// What a look at a child says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pulse {
    /// Not yet time to look.
    Early,
    /// Time to wake the child: it owes an answer until the next look.
    Ask,
    /// No answer in time: kill it if it can be polled at all. Said once; asks go on below.
    Stuck,
    /// It was stuck and moves again.
    CameBack,
}

/// Watches one child's progress counter.
#[derive(Clone, Debug)]
pub(crate) struct Heartbeat {
    timeout: Duration,
    seen: u64,
    look_at: Instant,
    state: State,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Answered,
    Asked,
    Suspect,
    Stuck,
}

/// A suspect gets a quarter of its timeout for a last word: long enough for a turn of its thread.
const LAST_WORD: u32 = 4;

impl Heartbeat {
    /// The first question is due a timeout after `now`.
    pub(crate) fn new(timeout: Duration, now: Instant) -> Self {
        // A timeout of zero would ask in a spin; a millisecond is the resolution of the timers.
        let timeout = timeout.max(Duration::from_millis(1));
        Self { timeout, seen: 0, look_at: later(now, timeout), state: State::Answered }
    }

    /// Looks at the child's progress. Until `excused_until` it waits by its own design, and owes no answer.
    pub(crate) fn look(&mut self, progress: u64, excused_until: Option<Instant>, now: Instant) -> Pulse {
        if now < self.look_at {
            return Pulse::Early;
        }
        let moved = progress != self.seen;
        let was_stuck = self.state == State::Stuck;
        if moved || self.state == State::Answered {
            (self.seen, self.state) = (progress, State::Asked);
            self.look_at = later(now, self.timeout);
            return if was_stuck { Pulse::CameBack } else { Pulse::Ask };
        }
        if let Some(until) = excused_until.filter(|until| *until > now) {
            (self.state, self.look_at) = (State::Answered, until);
            return Pulse::Ask;
        }
        match self.state {
            State::Asked => {
                (self.state, self.look_at) = (State::Suspect, later(now, self.timeout / LAST_WORD));
                Pulse::Ask
            }
            State::Suspect => {
                (self.state, self.look_at) = (State::Stuck, later(now, self.timeout));
                Pulse::Stuck
            }
            State::Stuck | State::Answered => {
                self.look_at = later(now, self.timeout);
                Pulse::Ask
            }
        }
    }

    /// When to look next.
    pub(crate) fn next_look(&self) -> Instant {
        self.look_at
    }

    /// Is the child held to be stuck?
    pub(crate) fn is_stuck(&self) -> bool {
        self.state == State::Stuck
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIMEOUT: Duration = Duration::from_secs(4);

    struct Watched {
        heartbeat: Heartbeat,
        now: Instant,
        progress: u64,
        excused_until: Option<Instant>,
    }

    impl Watched {
        fn new() -> Self {
            let now = Instant::now();
            Self { heartbeat: Heartbeat::new(TIMEOUT, now), now, progress: 0, excused_until: None }
        }

        fn next(&mut self) -> Pulse {
            assert_eq!(self.heartbeat.look(self.progress, self.excused_until, self.now), Pulse::Early);
            self.now = self.heartbeat.next_look();
            self.heartbeat.look(self.progress, self.excused_until, self.now)
        }
    }

    #[test]
    fn a_child_that_answers_is_asked_for_ever() {
        let mut child = Watched::new();
        for _ in 0..100 {
            assert_eq!(child.next(), Pulse::Ask);
            child.progress += 1;
        }
    }

    #[test]
    fn a_silent_child_is_asked_twice_and_then_stuck_once() {
        let mut child = Watched::new();
        let stuck_since = child.now;
        assert_eq!([child.next(), child.next(), child.next()], [Pulse::Ask, Pulse::Ask, Pulse::Stuck]);
        assert_eq!(child.now - stuck_since, TIMEOUT * 2 + TIMEOUT / 4);
        assert!(child.heartbeat.is_stuck());
        assert_eq!([child.next(), child.next()], [Pulse::Ask, Pulse::Ask]);
    }

    #[test]
    fn a_suspect_that_answers_at_the_last_word_is_well() {
        let mut child = Watched::new();
        child.next();
        child.next();
        child.progress += 1;
        assert_eq!([child.next(), child.next(), child.next()], [Pulse::Ask, Pulse::Ask, Pulse::Stuck]);
    }

    #[test]
    fn a_stuck_child_that_moves_again_came_back() {
        let mut child = Watched::new();
        while child.next() != Pulse::Stuck {}
        child.progress += 1;
        assert_eq!(child.next(), Pulse::CameBack);
        assert!(!child.heartbeat.is_stuck());
    }

    #[test]
    fn a_declared_wait_is_excused_until_its_end_and_not_longer() {
        let mut child = Watched::new();
        let until = child.now + 10 * TIMEOUT;
        child.excused_until = Some(until);
        assert_eq!([child.next(), child.next()], [Pulse::Ask, Pulse::Ask]);
        assert_eq!(child.heartbeat.next_look(), until);
        assert_eq!([child.next(), child.next(), child.next()], [Pulse::Ask, Pulse::Ask, Pulse::Stuck]);
    }
}
