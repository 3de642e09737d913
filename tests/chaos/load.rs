//! Points with numbers, pushed at a steady rate to whatever database there is at the moment.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use influx_spool::{DatabaseHandle, Point, PushReason, Seq};

/// Points in one go, and how often.
const SLICE: u64 = 10;
const EVERY: Duration = Duration::from_millis(2);

/// So many of the newest points can be asked about.
const RECENT: usize = 2_000;

/// A promise: no input or output, no waiting. What else the machine does is the rest.
const PUSH_MAX: Duration = Duration::from_secs(2);

pub(crate) struct Load {
    state: Arc<Mutex<State>>,
    thread: Option<JoinHandle<()>>,
}

struct State {
    db: DatabaseHandle,
    paused: bool,
    ended: bool,
    pushed: u64,
    slowest: Duration,
    recent: VecDeque<(u64, Seq)>,
}

impl Load {
    pub(crate) fn start(db: DatabaseHandle) -> Self {
        let recent = VecDeque::new();
        let state = State { db, paused: false, ended: false, pushed: 0, slowest: Duration::ZERO, recent };
        let state = Arc::new(Mutex::new(state));
        let pushing = Arc::clone(&state);
        let thread = std::thread::spawn(move || {
            loop {
                {
                    let mut state = pushing.lock().unwrap();
                    if state.ended {
                        return;
                    }
                    if !state.paused {
                        state.push_some();
                    }
                }
                std::thread::park_timeout(EVERY);
            }
        });
        Self { state, thread: Some(thread) }
    }

    /// Goes on with another database.
    pub(crate) fn turn_to(&self, db: DatabaseHandle) {
        self.lock().db = db;
    }

    /// When this returns no push is under way. Says how many there were.
    pub(crate) fn pause(&self) -> u64 {
        let mut state = self.lock();
        state.paused = true;
        state.pushed
    }

    pub(crate) fn go_on(&self) {
        self.lock().paused = false;
    }

    /// Pushes the next number to a destination that UDP does not lead to; `false` if there is no room for it now.
    pub(crate) fn push_by_http(&self) -> bool {
        let mut state = self.lock();
        let elsewhere = state.db.destination(|own| own.retention_policy = Some("elsewhere".into()));
        let pushed = state.db.push_to(&elsewhere, Point::new("m").field("n", state.pushed as i64));
        state.pushed += u64::from(pushed.is_ok());
        pushed.is_ok()
    }

    pub(crate) fn pushed(&self) -> u64 {
        self.lock().pushed
    }

    pub(crate) fn slowest(&self) -> Duration {
        self.lock().slowest
    }

    /// One of the points pushed lately.
    pub(crate) fn recent(&self, random: &mut fastrand::Rng) -> Option<(u64, Seq)> {
        let state = self.lock();
        (!state.recent.is_empty()).then(|| state.recent[random.usize(..state.recent.len())])
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }
}

impl State {
    fn push_some(&mut self) {
        for _ in 0..SLICE {
            let point = Point::new("m").field("n", self.pushed as i64);
            let begin = Instant::now();
            let pushed = self.db.push(point);
            self.slowest = self.slowest.max(begin.elapsed());
            match pushed {
                Ok(seq) => {
                    self.recent.push_back((self.pushed, seq));
                    self.pushed += 1;
                }
                // Between two lives, or more than the queue holds: the same number is tried again.
                Err(error) => {
                    assert!(matches!(error.reason, PushReason::Stopped | PushReason::Full), "{error:?}");
                    break;
                }
            }
        }
        let old = self.recent.len().saturating_sub(RECENT);
        self.recent.drain(..old);
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        let mut state = self.lock();
        state.ended = true;
        let slowest = state.slowest;
        drop(state);
        let ended = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            ended.unwrap();
            assert!(slowest < PUSH_MAX, "a push took {slowest:?}");
        }
    }
}
