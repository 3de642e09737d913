//! The threads for work that computes: compression. What waits for a disk has [threads of its own](super::disk).
//!
//! Started when they are first needed and shared by all databases. A lane is one thread with a queue of its own. A
//! panic of a job ends the job, not the thread: what the job had in hand is given back by its own guards.

use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError, mpsc};

use crate::panics::caught;

pub(super) type Job = Box<dyn FnOnce() + Send>;

/// A queue of jobs that one thread works off in order.
#[derive(Clone, Debug)]
pub(crate) struct Lane(mpsc::Sender<Job>);

impl Lane {
    /// Queues a job.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        // The thread ends only with the process: nobody is left to miss a job then.
        let _ = self.0.send(Box::new(job));
    }

    fn start(name: String) -> io::Result<Self> {
        let (jobs, queue) = mpsc::channel::<Job>();
        std::thread::Builder::new().name(name).spawn(move || {
            for job in queue {
                let _ = caught(job);
            }
        })?;
        Ok(Self(jobs))
    }
}

/// Lanes of one kind.
#[derive(Debug)]
pub(crate) struct Lanes {
    name: &'static str,
    lanes: Mutex<Vec<Lane>>,
    turn: AtomicUsize,
}

/// For what computes.
pub(crate) static SEAL: Lanes = Lanes::new("influx-spool-seal");

/// A lane for every core, up to this many.
const LANES_MAX: usize = 4;

impl Lanes {
    const fn new(name: &'static str) -> Self {
        Self { name, lanes: Mutex::new(Vec::new()), turn: AtomicUsize::new(0) }
    }

    /// How many there are, or will be. Asked once: the answer is read from files.
    pub(crate) fn count() -> usize {
        static COUNT: LazyLock<usize> =
            LazyLock::new(|| std::thread::available_parallelism().map_or(1, usize::from).clamp(1, LANES_MAX));
        *COUNT
    }

    /// The next lane in turn.
    ///
    /// # Errors
    /// A thread cannot be started.
    pub(crate) fn next(&self) -> io::Result<Lane> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) % Self::count();
        let mut lanes = self.lanes.lock().unwrap_or_else(PoisonError::into_inner);
        while lanes.len() <= turn {
            let name = format!("{}-{}", self.name, lanes.len());
            lanes.push(Lane::start(name)?);
        }
        Ok(lanes[turn].clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_ends_the_job_and_not_the_lane() {
        let lane = Lane::start("test".into()).unwrap();
        let (done, seen) = mpsc::channel();
        lane.run(|| std::panic::resume_unwind(Box::new("poison")));
        lane.run(move || done.send(7).unwrap());
        assert_eq!(seen.recv().unwrap(), 7);
    }
}
