//! The heartbeat of one child: finds the child that is alive and stuck.
//!
//! The watched side counts its progress. The watcher wakes it, remembers the count, and looks again a timeout
//! later. A first look that finds no progress only makes the child suspect, and wakes it once more: when the
//! watcher's own thread was held up, its neighbours had no chance to answer either, and must not pay for that.
//! So a stuck child is found between one timeout and two and a half after it got stuck.
//!
//! Looks are due on a [`Grid`], at the multiples of the timeout: the children of all supervisors are looked at together, so
//! that a thousand idle ones wake their threads once in a timeout and not a thousand times. The first look therefore comes
//! within a timeout of the start and not at its end. All it does is to ask, so nothing is found too early.

use std::time::{Duration, Instant};

use super::grid::Grid;
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
    grid: Grid,
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

/// A look that comes late brings the next one nearer, by half a timeout at the most: an answer needs some time.
const LATE: u32 = 2;

/// The resolution of the timers. A timeout of zero would ask in a spin.
const TIMER_STEP: Duration = Duration::from_millis(1);

impl Heartbeat {
    /// The first question is due within a timeout of `now`.
    pub(crate) fn new(timeout: Duration, grid: Grid, now: Instant) -> Self {
        let timeout = timeout.max(TIMER_STEP);
        let look_at = grid.at_or_after(later(now, TIMER_STEP), timeout);
        Self { timeout, grid, seen: 0, look_at, state: State::Answered }
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
            self.look_at = self.a_timeout_after(now);
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
                (self.state, self.look_at) = (State::Stuck, self.a_timeout_after(now));
                Pulse::Stuck
            }
            State::Stuck | State::Answered => {
                self.look_at = self.a_timeout_after(now);
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

    /// The next moment of the grid, if `now` is one or not long after one.
    fn a_timeout_after(&self, now: Instant) -> Instant {
        self.grid.at_or_after(later(now, self.timeout / LATE), self.timeout)
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
            let heartbeat = Heartbeat::new(TIMEOUT, Grid::new(now), now);
            Self { heartbeat, now, progress: 0, excused_until: None }
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
    fn whenever_a_child_is_started_and_gets_stuck_it_is_found_between_one_timeout_and_two_and_a_half() {
        let origin = Instant::now();
        for (started, stuck) in (0..16).flat_map(|started| (started..64).map(move |stuck| (started, stuck))) {
            let at = |quarters: u32| origin + TIMEOUT / 4 * quarters;
            let mut heartbeat = Heartbeat::new(TIMEOUT, Grid::new(origin), at(started));
            let (mut now, mut progress) = (at(started), 0);
            let found = loop {
                match heartbeat.look(progress, None, now) {
                    Pulse::Stuck => break now,
                    Pulse::Ask if now < at(stuck) => progress += 1,
                    _ => {}
                }
                now = heartbeat.next_look();
            };
            let took = found.duration_since(at(stuck));
            assert!((TIMEOUT..=TIMEOUT * 5 / 2).contains(&took), "{took:?}: {started} {stuck}");
        }
    }

    #[test]
    fn children_that_were_started_at_any_time_are_looked_at_together() {
        let origin = Instant::now();
        let start = |ms| Heartbeat::new(TIMEOUT, Grid::new(origin), origin + Duration::from_millis(ms));
        let mut children = [0, 1, 1_500, 3_998].map(start);
        for round in 1..10 {
            // A timer goes off a little late.
            let now = origin + TIMEOUT * round + Duration::from_millis(2);
            for (child, progress) in children.iter_mut().zip(0_u64..) {
                assert_eq!(child.next_look(), origin + TIMEOUT * round);
                assert_eq!(child.look(progress + u64::from(round), None, now), Pulse::Ask);
            }
        }
    }

    #[test]
    fn a_look_that_comes_late_leaves_the_child_time_to_answer() {
        let mut child = Watched::new();
        child.next();
        child.now += TIMEOUT * 7 / 4;
        assert_eq!(child.heartbeat.look(1, None, child.now), Pulse::Ask);
        assert_eq!(child.heartbeat.next_look() - child.now, TIMEOUT * 5 / 4);
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
