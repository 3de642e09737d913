//! Something to hang at, and somebody who knows that something hangs.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// Open at first. Clones are one.
#[derive(Clone, Default)]
pub struct Gate(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    is_closed: bool,
    waiting: usize,
    passed: u64,
}

impl Gate {
    /// Passes, or hangs until the gate is opened.
    pub fn pass(&self) {
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        state.waiting += 1;
        changed.notify_all();
        while state.is_closed {
            state = changed.wait(state).unwrap();
        }
        state.waiting -= 1;
        state.passed += 1;
        changed.notify_all();
    }

    pub fn close(&self) {
        self.0.0.lock().unwrap().is_closed = true;
    }

    pub fn open(&self) {
        self.0.0.lock().unwrap().is_closed = false;
        self.0.1.notify_all();
    }

    /// How many have passed.
    pub fn passed(&self) -> u64 {
        self.0.0.lock().unwrap().passed
    }

    pub fn is_anybody_hanging(&self) -> bool {
        let state = self.0.0.lock().unwrap();
        state.is_closed && state.waiting > 0
    }

    /// Waits until somebody hangs here.
    pub fn wait_until_hanging(&self, within: Duration) -> bool {
        let end = Instant::now() + within;
        let (state, changed) = &*self.0;
        let mut state = state.lock().unwrap();
        while !(state.is_closed && state.waiting > 0) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            state = changed.wait_timeout(state, left).unwrap().0;
        }
        true
    }
}
