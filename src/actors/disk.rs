//! The threads that wait for disks.
//!
//! Each spool has a lane of its own, whose jobs are done one after another. The threads are shared by all databases and
//! take the lanes that have work in turn: one thread a core, up to four, and as many more as are *stuck*. Whoever is at a job
//! for longer than [`STUCK_AFTER`] waits for a disk that hangs, and does not count any more, so that the lanes of other
//! disks go on.
//!
//! While lanes wait and every thread is at work, one thread more looks whether any of them is stuck. It ends when
//! there has been nothing to do for [`IDLE_MAX`]; the usual ones sleep until there is.
//!
//! Jobs that [can wait](DiskLane::run_later) are gathered for a moment, so that a thread wakes for those of a thousand databases
//! once, and not for each.
//!
//! A panic of a job ends the job, not the thread: what the job had in hand is given back by its own guards.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::{Arc, Condvar, LazyLock, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::workers::{Job, Lanes};
use crate::log;
use crate::panics::caught;

/// A job that takes longer hangs: some ten times what a transaction takes on a slow disk, and what is left of a loss
/// window of a second when its points are stored.
const STUCK_AFTER: Duration = Duration::from_millis(250);

/// Jobs that can wait are gathered for so long: the stores of a thousand databases wake together, and are through before.
const GATHERED_FOR: Duration = Duration::from_millis(20);

/// Threads at the most. When so many hang, the databases of all disks wait for one to come back.
const THREADS_MAX: usize = 64;

/// A thread beyond the usual number ends after this time without work.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// A queue of jobs that are done in order, one at a time.
#[derive(Clone, Debug)]
pub(crate) struct DiskLane {
    pool: &'static Pool,
    jobs: Arc<Mutex<Jobs>>,
}

impl DiskLane {
    /// # Errors
    /// No thread can be started.
    pub(crate) fn new() -> io::Result<Self> {
        static POOL: LazyLock<Pool> = LazyLock::new(|| Pool::new(Lanes::count()));
        Self::on(&POOL)
    }

    fn on(pool: &'static Pool) -> io::Result<Self> {
        pool.ensure_thread()?;
        Ok(Self { pool, jobs: Arc::default() })
    }

    /// Queues a job.
    pub(crate) fn run(&self, job: impl FnOnce() + Send + 'static) {
        if lock(&self.jobs).add(Box::new(job), Scheduled::Now) {
            self.pool.add(Arc::clone(&self.jobs));
        }
    }

    /// Queues a job that nobody waits for. A job that is queued behind it does not wait either: both are done then.
    pub(crate) fn run_later(&self, job: impl FnOnce() + Send + 'static) {
        if lock(&self.jobs).add(Box::new(job), Scheduled::Later) {
            self.pool.add_later(Arc::clone(&self.jobs));
        }
    }
}

/// The jobs of a lane.
#[derive(Default)]
struct Jobs {
    waiting: VecDeque<Job>,
    scheduled: Scheduled,
}

/// Whether the pool has a lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
enum Scheduled {
    #[default]
    Not,
    /// Among those that are gathered.
    Later,
    /// Waiting for a thread, or at work.
    Now,
}

impl Jobs {
    /// Whether the lane has to be given to the pool, as is said.
    fn add(&mut self, job: Job, scheduled: Scheduled) -> bool {
        self.waiting.push_back(job);
        self.schedule(scheduled)
    }

    fn schedule(&mut self, scheduled: Scheduled) -> bool {
        let is_sooner = self.scheduled < scheduled;
        self.scheduled = self.scheduled.max(scheduled);
        is_sooner
    }

    /// Whether there is more to do.
    fn go_on(&mut self) -> bool {
        let more = !self.waiting.is_empty();
        self.scheduled = if more { Scheduled::Now } else { Scheduled::Not };
        more
    }
}

impl std::fmt::Debug for Jobs {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jobs").field("waiting", &self.waiting.len()).finish_non_exhaustive()
    }
}

/// The threads, and the lanes that wait for one.
#[derive(Debug)]
struct Pool {
    /// How many may be at work without being stuck.
    moving_max: usize,
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    ready: VecDeque<Arc<Mutex<Jobs>>>,
    /// Lanes that are gathered until then.
    later: Option<(Instant, Vec<Arc<Mutex<Jobs>>>)>,
    /// Whether a thread waits for that.
    gathering: bool,
    threads: usize,
    idle: usize,
    /// Of those idle: who looks whether a thread is stuck, since every one that may be at work is.
    watching: usize,
    /// Since when each thread has been at its job.
    at_work: BTreeMap<usize, Instant>,
    next_number: usize,
}

/// What a thread is to do next.
enum Next {
    Work(Arc<Mutex<Jobs>>),
    /// Others are at work. At the latest then one of them is stuck.
    Watch(Instant),
    /// Then those are taken that were gathered.
    Gather(Instant),
    Rest,
}

impl State {
    fn next(&mut self, moving_max: usize, now: Instant) -> Next {
        self.take_gathered(now);
        if self.stuck_at(now).count() < moving_max
            && let Some(lane) = self.ready.pop_front()
        {
            return Next::Work(lane);
        }
        match (self.stuck_at(now).min(), &self.later) {
            (Some(at), _) if !self.ready.is_empty() => Next::Watch(at),
            (_, Some((at, _))) if !self.gathering => Next::Gather(*at),
            _ => Next::Rest,
        }
    }

    fn take_gathered(&mut self, now: Instant) {
        if let Some((_, lanes)) = self.later.take_if(|(at, _)| *at <= now) {
            // A lane may have had its turn meanwhile.
            self.ready.extend(lanes.into_iter().filter(|lane| {
                let mut jobs = lock(lane);
                jobs.scheduled == Scheduled::Later && jobs.schedule(Scheduled::Now)
            }));
        }
    }

    /// When each of the threads at work is stuck, of those that are not.
    fn stuck_at(&self, now: Instant) -> impl Iterator<Item = Instant> {
        self.at_work.values().map(|since| *since + STUCK_AFTER).filter(move |at| *at > now)
    }

    /// Whether a thread that rests would have something to do: a lane, or to watch those at work, or to gather. It costs a switch
    /// of threads to find that it has not.
    fn wants_another(&self, moving_max: usize, now: Instant) -> bool {
        !self.ready.is_empty() && (self.watching == 0 || self.stuck_at(now).count() < moving_max)
            || self.later.is_some() && !self.gathering
    }

    /// Whether a lane waits, and nobody looks after it.
    fn wants_thread(&self) -> bool {
        self.has_lanes() && self.idle == 0 && self.threads < THREADS_MAX
    }

    fn has_lanes(&self) -> bool {
        !self.ready.is_empty() || self.later.is_some()
    }
}

impl Pool {
    fn new(moving_max: usize) -> Self {
        Self { moving_max, state: Mutex::default(), changed: Condvar::new() }
    }

    /// # Errors
    /// There is no thread, and none can be started.
    fn ensure_thread(&'static self) -> io::Result<()> {
        let mut state = lock(&self.state);
        if state.threads == 0 { self.start_thread(&mut state) } else { Ok(()) }
    }

    /// Gives a lane that has work to a thread.
    fn add(&'static self, lane: Arc<Mutex<Jobs>>) {
        let mut state = lock(&self.state);
        state.ready.push_back(lane);
        self.see_to_lanes(&mut state);
    }

    /// Gathers a lane whose work can wait.
    fn add_later(&'static self, lane: Arc<Mutex<Jobs>>) {
        let mut state = lock(&self.state);
        match &mut state.later {
            Some((_, lanes)) => lanes.push(lane),
            none => {
                *none = Some((Instant::now() + GATHERED_FOR, vec![lane]));
                self.see_to_lanes(&mut state);
            }
        }
    }

    /// Sees to it that somebody looks after the lanes that wait.
    fn see_to_lanes(&'static self, state: &mut State) {
        if state.wants_thread()
            && let Err(error) = self.start_thread(state)
        {
            // There is one at least, and whoever is done takes the next lane.
            log::warn!(%error, "cannot start a thread for the disk");
        }
        if state.wants_another(self.moving_max, Instant::now()) {
            self.changed.notify_one();
        }
    }

    fn start_thread(&'static self, state: &mut State) -> io::Result<()> {
        let number = state.next_number;
        let name = format!("influx-spool-disk-{number}");
        std::thread::Builder::new().name(name).spawn(move || self.work(number))?;
        state.next_number += 1;
        state.threads += 1;
        // It counts as idle until it has looked.
        state.idle += 1;
        Ok(())
    }

    fn work(&'static self, number: usize) {
        let mut state = lock(&self.state);
        loop {
            match state.next(self.moving_max, Instant::now()) {
                Next::Work(lane) => {
                    state.idle -= 1;
                    state.at_work.insert(number, Instant::now());
                    self.see_to_lanes(&mut state);
                    drop(state);
                    let more = do_next(&lane);
                    state = lock(&self.state);
                    state.at_work.remove(&number);
                    state.idle += 1;
                    state.ready.extend(more.then_some(lane));
                }
                Next::Watch(until) => {
                    let wait = until.saturating_duration_since(Instant::now());
                    state.watching += 1;
                    state = self.wait(state, wait).0;
                    state.watching -= 1;
                }
                Next::Gather(until) => {
                    let wait = until.saturating_duration_since(Instant::now());
                    state.gathering = true;
                    state = self.wait(state, wait).0;
                    state.gathering = false;
                }
                Next::Rest if state.threads > self.moving_max => {
                    let (woken, in_vain) = self.wait(state, IDLE_MAX);
                    state = woken;
                    if in_vain && state.threads > self.moving_max && !state.has_lanes() {
                        state.idle -= 1;
                        state.threads -= 1;
                        return;
                    }
                }
                Next::Rest => {
                    state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }

    /// Waits for a change; whether none came in time.
    fn wait<'a>(&self, state: MutexGuard<'a, State>, time: Duration) -> (MutexGuard<'a, State>, bool) {
        let (state, timeout) = self.changed.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner);
        (state, timeout.timed_out())
    }
}

/// Does the next job of a lane. Whether there is more to do.
fn do_next(lane: &Mutex<Jobs>) -> bool {
    let job = lock(lane).waiting.pop_front();
    if let Some(job) = job {
        let _ = caught(job);
    }
    lock(lane).go_on()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing that can panic runs under these locks.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(30);

    /// A pool of the test's own, which lives as long as the process.
    fn pool(moving_max: usize) -> &'static Pool {
        Box::leak(Box::new(Pool::new(moving_max)))
    }

    #[test]
    fn a_panic_ends_the_job_and_not_the_lane() {
        let lane = DiskLane::on(pool(1)).unwrap();
        let (done, seen) = mpsc::channel();
        lane.run(|| std::panic::resume_unwind(Box::new("poison")));
        lane.run(move || done.send(7).unwrap());
        assert_eq!(seen.recv_timeout(LONG), Ok(7));
    }

    #[test]
    fn a_lane_that_hangs_holds_up_itself_only() {
        let pool = pool(1);
        let (done, seen) = mpsc::channel();
        let mut gates = Vec::new();
        let mut hanging = Vec::new();
        for number in 0..3 {
            let lane = DiskLane::on(pool).unwrap();
            let (gate, opened) = mpsc::channel::<()>();
            lane.run(move || _ = opened.recv());
            let done = done.clone();
            lane.run(move || done.send(number).unwrap());
            gates.push(gate);
            hanging.push(lane);
        }
        let well = DiskLane::on(pool).unwrap();
        for number in 10..13 {
            let done = done.clone();
            well.run(move || done.send(number).unwrap());
        }
        let numbers: Vec<i32> = (0..3).map(|_| seen.recv_timeout(LONG).unwrap()).collect();
        assert_eq!(numbers, [10, 11, 12], "what hangs is passed, and keeps its own order");
        drop(gates);
        let mut numbers: Vec<i32> = (0..3).map(|_| seen.recv_timeout(LONG).unwrap()).collect();
        numbers.sort_unstable();
        assert_eq!(numbers, [0, 1, 2]);
    }

    #[test]
    fn lanes_that_can_wait_are_taken_together_but_for_those_that_had_their_turn() {
        let (mut state, now) = (State::default(), Instant::now());
        let lanes: [Arc<Mutex<Jobs>>; 3] = Default::default();
        for lane in &lanes {
            assert!(lock(lane).add(Box::new(|| ()), Scheduled::Later));
        }
        state.later = Some((now + GATHERED_FOR, lanes.to_vec()));
        assert!(matches!(state.next(1, now), Next::Gather(at) if at == now + GATHERED_FOR));
        state.gathering = true;
        assert!(matches!(state.next(1, now), Next::Rest), "one waits for it");

        let [sooner, ..] = &lanes;
        assert!(lock(sooner).add(Box::new(|| ()), Scheduled::Now), "it is given to the pool again");
        do_next(sooner);
        assert!(!do_next(sooner));
        for lane in &lanes[1..] {
            let next = state.next(1, now + GATHERED_FOR);
            assert!(matches!(next, Next::Work(next) if Arc::ptr_eq(&next, lane)));
        }
        assert!(matches!(state.next(1, now + GATHERED_FOR), Next::Rest));
    }

    #[test]
    fn what_can_wait_is_done_whatever_the_threads_are_at() {
        let pool = pool(1);
        let (done, seen) = mpsc::channel();
        let [hanging, other] = [(); 2].map(|()| DiskLane::on(pool).unwrap());
        let (gate, opened) = mpsc::channel::<()>();
        hanging.run(move || _ = opened.recv());
        for number in [1, 2] {
            let done = done.clone();
            other.run_later(move || done.send(number).unwrap());
        }
        assert_eq!((seen.recv_timeout(LONG), seen.recv_timeout(LONG)), (Ok(1), Ok(2)));

        // Behind one that can wait, and before others that are gathered already.
        let again = done.clone();
        other.run_later(move || again.send(3).unwrap());
        other.run(move || done.send(4).unwrap());
        assert_eq!((seen.recv_timeout(LONG), seen.recv_timeout(LONG)), (Ok(3), Ok(4)));
        drop(gate);
    }

    #[test]
    fn no_more_are_at_work_at_once_than_there_are_cores_for() {
        let pool = pool(2);
        let (done, seen) = mpsc::channel();
        let at_once = Arc::new(Mutex::new((0, 0)));
        for _ in 0..50 {
            let lane = DiskLane::on(pool).unwrap();
            let (at_once, done) = (Arc::clone(&at_once), done.clone());
            lane.run(move || {
                let mut now = lock(&at_once);
                *now = (now.0 + 1, now.1.max(now.0 + 1));
                drop(now);
                std::thread::yield_now();
                lock(&at_once).0 -= 1;
                done.send(()).unwrap();
            });
        }
        for _ in 0..50 {
            seen.recv_timeout(LONG).unwrap();
        }
        assert!(lock(&at_once).1 <= 2, "{at_once:?}");
        assert!(lock(&pool.state).threads <= 3, "two, and one that looks after them");
    }
}
