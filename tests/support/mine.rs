//! A named place where something goes off.

use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

const LONG: Duration = Duration::from_secs(60);

/// Goes off at every so manieth visit of a place, so often. Dropped, it is cleared away.
pub struct Mine {
    place: String,
    state: Arc<(Mutex<Fired>, Condvar)>,
}

#[derive(Default)]
struct Fired {
    visits: u64,
    fired: u64,
    at: Vec<Instant>,
}

impl Mine {
    /// One that panics.
    pub fn lay(place: &str, every: u64, times: u64) -> Self {
        // Without the panic hook: its page on standard error is for panics that nobody asked for.
        Self::lay_with(place, every, times, || std::panic::resume_unwind(Box::new("a mine")))
    }

    /// One that does this.
    pub fn lay_with(place: &str, every: u64, times: u64, go_off: impl Fn() + Send + Sync + 'static) -> Self {
        let state = Arc::new((Mutex::new(Fired::default()), Condvar::new()));
        let laid = Arc::clone(&state);
        let step = move || {
            let mut fired = laid.0.lock().unwrap();
            fired.visits += 1;
            if fired.visits % every == 0 && fired.fired < times {
                fired.fired += 1;
                fired.at.push(Instant::now());
                laid.1.notify_all();
                drop(fired);
                go_off();
            }
        };
        fail::cfg_callback(place, step).unwrap();
        Self { place: place.to_owned(), state }
    }

    /// One that does nothing: it counts visits.
    pub fn watch(place: &str) -> Self {
        Self::lay_with(place, 1, u64::MAX, || {})
    }

    pub fn place(&self) -> &str {
        &self.place
    }

    pub fn fired(&self) -> u64 {
        self.state.0.lock().unwrap().fired
    }

    pub fn moments(&self) -> Vec<Instant> {
        self.state.0.lock().unwrap().at.clone()
    }

    /// Waits, blocking the thread: not that of the actors.
    pub fn wait_for(&self, times: u64) {
        let fired = self.state.0.lock().unwrap();
        let (fired, timeout) =
            self.state.1.wait_timeout_while(fired, LONG, |fired| fired.fired < times).unwrap();
        let hits = (fired.fired, fired.visits);
        drop(fired);
        assert!(!timeout.timed_out(), "{}: (fired, visited) = {hits:?}, not {times}", self.place);
    }
}

impl Drop for Mine {
    fn drop(&mut self) {
        fail::remove(&self.place);
    }
}
