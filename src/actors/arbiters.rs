//! The threads that databases run on unless the application names one: an actix system of the crate's own.
//!
//! Shared by all databases of the process, so that a thousand of them are not a thousand threads, and apart from the
//! application's own system: stopping that one does not cut off a flush.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError, mpsc};

use actix::{Arbiter, ArbiterHandle, System};

use crate::log;

/// Two: what runs on them is short, the long work is done by the workers.
const ARBITERS: usize = 2;

/// The next arbiter in turn.
///
/// # Errors
/// A thread cannot be started.
pub(crate) fn next() -> io::Result<ArbiterHandle> {
    static ARBITER_HANDLES: Mutex<Vec<ArbiterHandle>> = Mutex::new(Vec::new());
    static TURN: AtomicUsize = AtomicUsize::new(0);

    let mut handles = ARBITER_HANDLES.lock().unwrap_or_else(PoisonError::into_inner);
    if handles.is_empty() {
        *handles = start()?;
    }
    let turn = TURN.fetch_add(1, Ordering::Relaxed) % handles.len();
    Ok(handles[turn].clone())
}

fn start() -> io::Result<Vec<ArbiterHandle>> {
    let (started, handles) = mpsc::channel();
    std::thread::Builder::new().name("influx-spool".into()).spawn(move || {
        let system = System::new();
        system.block_on(async {
            let arbiters: Vec<_> = (0..ARBITERS).map(|_| Arbiter::new().handle()).collect();
            // Whoever asked is waiting in the line below.
            let _ = started.send(arbiters);
        });
        // Runs for as long as the process does.
        if let Err(error) = system.run() {
            log::error!(%error, "the arbiters of influx-spool have ended");
        }
    })?;
    handles.recv().map_err(|_| io::Error::other("the arbiters did not start"))
}
