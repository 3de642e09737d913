//! A server that is sick for whoever writes and well for whoever asks how it is, until it is cured.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::scripted::{NO_CONTENT, Script, Scripted, Seen};

/// See the module's documentation.
pub struct SickServer {
    server: Scripted,
    well: Arc<AtomicBool>,
    /// The writes that were answered as by a server that is well: by connection and time.
    taken: Arc<Mutex<HashSet<(u64, Instant)>>>,
}

impl SickServer {
    /// A server on a free port that does this to every write.
    pub fn start(sickness: Script) -> Self {
        let well = Arc::new(AtomicBool::new(false));
        let taken = Arc::new(Mutex::new(HashSet::new()));
        let server = {
            let (well, taken) = (Arc::clone(&well), Arc::clone(&taken));
            Scripted::start(move |_, seen| {
                let is_write = seen.method == "POST";
                if is_write && !well.load(Ordering::Acquire) {
                    return sickness.clone();
                }
                if is_write {
                    taken.lock().unwrap().insert((seen.connection, seen.at));
                }
                Script::answer(NO_CONTENT)
            })
        };
        Self { server, well, taken }
    }

    pub fn url(&self) -> String {
        self.server.url()
    }

    /// From now on it takes what is written.
    pub fn cure(&self) {
        self.well.store(true, Ordering::Release);
    }

    /// How many writes it has met.
    pub fn writes(&self) -> usize {
        self.all_writes().len()
    }

    pub fn wait_for_requests(&self, count: usize, within: Duration) -> bool {
        self.server.wait_for_requests(count, within)
    }

    /// Every write, taken or not, in order.
    pub fn all_writes(&self) -> Vec<Seen> {
        let mut seen = self.server.seen();
        seen.retain(|seen| seen.method == "POST");
        seen
    }

    /// The writes it has taken, in order.
    pub fn taken(&self) -> Vec<Seen> {
        let taken = self.taken.lock().unwrap();
        let mut writes = self.all_writes();
        writes.retain(|write| taken.contains(&(write.connection, write.at)));
        writes
    }
}

/// The field `n` of every line of these writes, in order.
pub fn numbers(writes: &[Seen]) -> Vec<u64> {
    let number = |line: &str| -> u64 {
        let (_, after) = line.split_once("n=").expect("every line has a number");
        after.split('i').next().and_then(|digits| digits.parse().ok()).expect("the number is one")
    };
    writes.iter().flat_map(|write| write.text().lines().map(number)).collect()
}
