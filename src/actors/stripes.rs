//! Where points lie while several threads push at once.
//!
//! One lock for everything is cheap as long as one thread pushes. Where two do, a push passes a dozen cache lines from one core to
//! the other (the number, the ledger, the segment, its buffers), and both together get less done than one alone. So threads that
//! meet at the lock are given *stripes*: each puts its lines into a stripe of its own, and all that goes to and fro is the
//! counter that numbers them. Whoever looks at the transit takes over what lies in the stripes first, in the order of the
//! numbers. To all but a push there are no stripes: a point has the number, the place and the fate that it would have without.
//!
//! # Invariants
//!
//! - Stripes are open only while nobody looks at the transit: to look is to close them ([`Shared::look`](super::shared::Shared::look)).
//! - While they are open every number is given under the lock of a stripe. Who holds all of these locks has every number that was
//!   given, and none is missing between them.
//! - They are opened only where no push would be refused, and only behind a point whose age is watched: what lies in a stripe is
//!   younger, so whoever comes for that one comes in time for all.
//! - The lock of the transit is taken before those of stripes, and these in their order. A push that holds one takes no other.

use std::array;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::machines::queue::EncodedLine;
use crate::machines::transit::Transit;
use crate::values::batch::Destination;
use crate::values::ledger::Tally;

/// Threads beyond as many share a stripe.
const STRIPES: usize = 8;

/// What one stripe holds at the most: so much that fewer than one push in a hundred finds it full.
const LINES_MAX: usize = 256;
const BYTES_MAX: usize = 64 << 10;

/// See the [module's documentation](self).
#[derive(Debug)]
pub(super) struct Stripes {
    /// Written under the lock of the transit, and read there; elsewhere it saves a look into a stripe that is closed.
    open: AtomicBool,
    /// The number that is given next.
    next: Counter,
    stripes: [Stripe; STRIPES],
    /// What was taken out of the stripes last, for its buffers. Locked under the lock of the transit only.
    taken: Mutex<Taken>,
}

/// In cache lines of its own, since all threads write it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Counter(AtomicU64);

/// In cache lines of its own, since no other thread should touch it.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(Mutex<Staged>);

/// Lines in the order of their numbers, which have gaps: those of the other stripes.
#[derive(Debug, Default)]
struct Staged {
    open: bool,
    bytes: Vec<u8>,
    lines: Vec<StagedLine>,
}

#[derive(Clone, Copy, Debug)]
struct StagedLine {
    number: u64,
    end: usize,
    timestamp: i64,
}

#[derive(Debug)]
struct Taken {
    stripes: [Staged; STRIPES],
    /// When the stripes were empty: no line in them is older.
    since: Instant,
}

/// What became of a line that was to be put into a stripe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Staging {
    /// It is in, and this is its number.
    Numbered(u64),
    /// The stripes are to be emptied first.
    Full,
    /// There are no stripes now, or not for a line like this.
    Closed,
}

/// A push that found its stripe full.
#[derive(Clone, Copy, Debug)]
pub(super) struct TurnedOver {
    /// The number of its line; `None` if the stripes are closed now and the line is in none.
    pub(super) number: Option<u64>,
    /// Whether the batcher has something new to look at.
    pub(super) wake: bool,
}

impl Stripes {
    /// Closed stripes. They allocate nothing until there is something in them.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            open: AtomicBool::new(false),
            next: Counter::default(),
            stripes: array::from_fn(|_| Stripe::default()),
            taken: Mutex::new(Taken { stripes: array::from_fn(|_| Staged::default()), since: now }),
        }
    }

    pub(super) fn are_open(&self) -> bool {
        self.open.load(Ordering::Relaxed)
    }

    /// Puts a line into this thread's stripe.
    pub(super) fn stage(&self, line: EncodedLine<'_>) -> Staging {
        if line.bytes.len() > BYTES_MAX {
            return Staging::Closed;
        }
        let mut stripe = self.stripe();
        if !stripe.open {
            return Staging::Closed;
        }
        if !stripe.has_room(line) {
            return Staging::Full;
        }
        Staging::Numbered(self.put(&mut stripe, line))
    }

    /// Opens the stripes, if nothing of what may gather in them would be refused.
    pub(super) fn open(&self, transit: &Transit, now: Instant) {
        if self.are_open() || !takes_stripes(transit, 1) {
            return;
        }
        self.taken().since = now;
        self.next.0.store(transit.next_seq(), Ordering::Relaxed);
        self.all().iter_mut().for_each(|stripe| stripe.open = true);
        self.open.store(true, Ordering::Relaxed);
    }

    /// Closes the stripes, and has the transit take over what lies in them; whether the batcher has something new to look at.
    pub(super) fn close(&self, transit: &mut Transit, to: &Arc<Destination>) -> bool {
        if !self.are_open() {
            return false;
        }
        self.open.store(false, Ordering::Relaxed);
        let mut taken = self.taken();
        for (stripe, taken) in self.all().iter_mut().zip(&mut taken.stripes) {
            std::mem::swap(&mut **stripe, taken);
            stripe.open = false;
        }
        taken.hand_over(transit, to)
    }

    /// Has the transit take over what lies in the stripes, and puts a line into the one of this thread, which was full. The others
    /// go on meanwhile. Where there are none, the stripes are closed.
    pub(super) fn turn_over(
        &self,
        transit: &mut Transit,
        to: &Arc<Destination>,
        line: EncodedLine<'_>,
        now: Instant,
    ) -> TurnedOver {
        let mut stripes = self.all();
        let is_alone = stripes.iter().filter(|stripe| !stripe.lines.is_empty()).count() == 1;
        // What is in them now, and as much again.
        if is_alone || !self.are_open() || !takes_stripes(transit, 2) {
            drop(stripes);
            return TurnedOver { number: None, wake: self.close(transit, to) };
        }
        let mut taken = self.taken();
        for (stripe, taken) in stripes.iter_mut().zip(&mut taken.stripes) {
            std::mem::swap(&mut **stripe, taken);
            stripe.open = true;
        }
        let number = self.put(&mut stripes[own_stripe()], line);
        drop(stripes);
        let wake = taken.hand_over(transit, to);
        taken.since = now;
        TurnedOver { number: Some(number), wake }
    }

    /// The lock of the stripe orders it before whoever takes the line out.
    fn put(&self, stripe: &mut Staged, line: EncodedLine<'_>) -> u64 {
        let number = self.next.0.fetch_add(1, Ordering::Relaxed);
        stripe.bytes.extend_from_slice(line.bytes);
        stripe.lines.push(StagedLine { number, end: stripe.bytes.len(), timestamp: line.timestamp });
        number
    }

    fn stripe(&self) -> MutexGuard<'_, Staged> {
        self.stripes[own_stripe()].0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> [MutexGuard<'_, Staged>; STRIPES] {
        array::from_fn(|n| self.stripes[n].0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn taken(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Staged {
    fn has_room(&self, line: EncodedLine<'_>) -> bool {
        self.lines.len() < LINES_MAX && self.bytes.len() + line.bytes.len() <= BYTES_MAX
    }
}

impl Taken {
    fn hand_over(&mut self, transit: &mut Transit, to: &Arc<Destination>) -> bool {
        let held = |stripe: &Staged| Tally::new(stripe.lines.len() as u64, stripe.bytes.len() as u64);
        let mut size = Tally::default();
        self.stripes.iter().for_each(|stripe| size += held(stripe));
        let lines = Merged::of(&self.stripes, transit.next_seq());
        let wake = transit.push_staged(lines, size, to, self.since);
        for stripe in &mut self.stripes {
            stripe.bytes.clear();
            stripe.lines.clear();
        }
        wake
    }
}

/// The lines of all stripes in the order of their numbers, none of which is missing.
struct Merged<'a> {
    /// Those that held something, side by side.
    stripes: [Rest<'a>; STRIPES],
    used: usize,
    next: u64,
}

/// What of a stripe is still to come.
#[derive(Clone, Copy, Default)]
struct Rest<'a> {
    lines: &'a [StagedLine],
    bytes: &'a [u8],
    /// How many of the bytes are gone.
    start: usize,
}

impl<'a> Merged<'a> {
    fn of(stripes: &'a [Staged; STRIPES], next: u64) -> Self {
        let mut rests = [Rest::default(); STRIPES];
        let used = stripes.iter().filter(|stripe| !stripe.lines.is_empty());
        let used = rests.iter_mut().zip(used).map(|(rest, stripe)| {
            *rest = Rest { lines: &stripe.lines, bytes: &stripe.bytes, start: 0 };
        });
        let used = used.count();
        Self { stripes: rests, used, next }
    }
}

impl<'a> Iterator for Merged<'a> {
    type Item = EncodedLine<'a>;

    #[inline]
    fn next(&mut self) -> Option<EncodedLine<'a>> {
        let next = self.next;
        let mut used = self.stripes[..self.used].iter_mut();
        let rest = used.find(|rest| rest.lines.first().is_some_and(|line| line.number == next));
        let Some((line, rest)) = rest.and_then(|rest| Some((rest.lines.split_off_first()?, rest))) else {
            debug_assert!(self.stripes.iter().all(|rest| rest.lines.is_empty()), "no number is missing");
            return None;
        };
        self.next += 1;
        let start = std::mem::replace(&mut rest.start, line.end);
        Some(EncodedLine { bytes: &rest.bytes[start..line.end], timestamp: line.timestamp })
    }
}

/// Whether the transit takes as much as all stripes hold, so many times.
fn takes_stripes(transit: &Transit, times: u64) -> bool {
    transit.takes_unseen(times * (STRIPES * LINES_MAX) as u64, times * (STRIPES * BYTES_MAX) as u64)
}

/// Threads have their stripes in turn.
fn own_stripe() -> usize {
    static THREADS: AtomicUsize = AtomicUsize::new(0);
    thread_local!(static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES);
    STRIPE.with(|stripe| *stripe)
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;
    use std::ops::RangeInclusive;
    use std::thread;

    use super::*;
    use crate::actors::shared::Shared;
    use crate::machines::transit::PushRefusal;
    use crate::values::config::{Compression, Config, WhenFull};
    use crate::values::fate::{Fate, ShedReason};
    use crate::values::line_protocol::encoder::Encoder;

    /// A database without actors, as its handles push into it, with stripes that were opened behind its first point.
    fn opened(when_full: WhenFull, points_max: usize) -> Shared {
        let mut config = Config::new("plant", "http://127.0.0.1:9");
        config.queue.when_full = when_full;
        config.queue.points_max = NonZeroUsize::new(points_max).unwrap();
        config.batch.compression = Compression::None;
        let encoder = Encoder::new(config.precision, &config.lines).unwrap();
        let shared = Shared::new(config, encoder, None, None).unwrap();
        assert_eq!(push(&shared, 1), Ok(1));
        open(&shared);
        shared
    }

    fn open(shared: &Shared) {
        shared.open_stripes(&shared.look().transit);
    }

    fn are_open(shared: &Shared) -> bool {
        shared.stripes().is_some_and(Stripes::are_open)
    }

    fn push(shared: &Shared, n: u64) -> Result<u64, PushRefusal> {
        push_text(shared, &line(n))
    }

    fn push_text(shared: &Shared, text: &str) -> Result<u64, PushRefusal> {
        shared.push_line(text.as_bytes(), 0, &shared.destination).map(|pushed| pushed.number)
    }

    fn line(n: u64) -> String {
        format!("m n={n}i\n")
    }

    fn lines(numbers: impl IntoIterator<Item = u64>) -> String {
        numbers.into_iter().map(line).collect()
    }

    /// By turns from two threads that have stripes of their own.
    fn push_from_two_stripes(shared: &Shared, numbers: RangeInclusive<u64>) {
        let turn = AtomicU64::new(*numbers.start());
        let push_every_other = |parity| {
            for n in numbers.clone().filter(|n| n % 2 == parity) {
                while turn.load(Ordering::Acquire) != n {
                    thread::yield_now();
                }
                assert_eq!(push(shared, n), Ok(n));
                turn.store(n + 1, Ordering::Release);
            }
        };
        let here = own_stripe();
        thread::scope(|scope| {
            scope.spawn(|| elsewhere(here, &|| push_every_other(0)));
            push_every_other(1);
        });
    }

    /// Acts on this thread or another, whichever has a stripe that is not this one.
    fn elsewhere(stripe: usize, act: &(dyn Fn() + Sync)) {
        if own_stripe() == stripe {
            thread::scope(|scope| _ = scope.spawn(|| elsewhere(stripe, act)));
        } else {
            act();
        }
    }

    #[test]
    fn what_lies_in_stripes_is_taken_over_in_the_order_it_was_pushed_in() {
        let shared = opened(WhenFull::DropOldest, 100_000);
        push_from_two_stripes(&shared, 2..=200);
        assert!(are_open(&shared), "nobody has looked");
        assert_eq!(shared.stats().pending.points, 200);
        assert!(!are_open(&shared));
        assert_eq!(push(&shared, 201), Ok(201));
        open(&shared);
        push_from_two_stripes(&shared, 202..=300);
        assert_eq!(shared.queued(), lines(1..=300));
        assert_eq!(shared.stats().ledger.accepted().points, 300);
    }

    #[test]
    fn full_stripes_are_emptied_and_stay_open() {
        let shared = opened(WhenFull::DropOldest, 100_000);
        let last = 10 * LINES_MAX as u64;
        push_from_two_stripes(&shared, 2..=last);
        assert!(are_open(&shared));
        assert_eq!(shared.queued(), lines(1..=last));
    }

    #[test]
    fn a_thread_that_finds_itself_alone_needs_no_stripes() {
        let shared = opened(WhenFull::DropOldest, 100_000);
        let last = 2 + LINES_MAX as u64;
        (2..last).for_each(|n| assert_eq!(push(&shared, n), Ok(n)));
        assert!(are_open(&shared));
        assert_eq!(push(&shared, last), Ok(last));
        assert!(!are_open(&shared));
        assert_eq!(shared.queued(), lines(1..=last));
    }

    #[test]
    fn a_queue_that_slides_drops_the_oldest_in_stripes_as_well() {
        let shared = opened(WhenFull::DropOldest, 50);
        push_from_two_stripes(&shared, 2..=1_000);
        let stats = shared.stats();
        assert_eq!(stats.pending.points, 50);
        assert_eq!(stats.ledger.of(Fate::Shed(ShedReason::QueueFull)).points, 950);
        assert_eq!(shared.queued(), lines(951..=1_000));
    }

    #[test]
    fn a_queue_that_slides_makes_room_for_all_that_lie_in_stripes_at_once() {
        let shared = opened(WhenFull::DropOldest, 2_000);
        push_from_two_stripes(&shared, 2..=5_000);
        let stats = shared.stats();
        assert_eq!(stats.pending.points, 2_000);
        assert_eq!(stats.ledger.of(Fate::Shed(ShedReason::QueueFull)).points, 3_000);
        assert_eq!(shared.queued(), lines(3_001..=5_000));
    }

    /// To take a look would close them, and the next push would open them again, and so on.
    #[test]
    fn who_waited_while_another_opened_the_stripes_puts_its_line_there() {
        let shared = opened(WhenFull::DropOldest, 100_000);
        drop(shared.look());
        assert!(!are_open(&shared));
        let look = shared.look();
        thread::scope(|scope| {
            let (arrived, arrives) = std::sync::mpsc::channel();
            let pushing = scope.spawn({
                let shared = &shared;
                move || {
                    arrived.send(()).unwrap();
                    push(shared, 2)
                }
            });
            arrives.recv().unwrap();
            shared.open_stripes(&look.transit);
            drop(look);
            assert_eq!(pushing.join().unwrap(), Ok(2));
        });
        let staged: usize = shared.stripes().unwrap().all().iter().map(|stripe| stripe.lines.len()).sum();
        assert_eq!((staged, are_open(&shared)), (1, true));
        assert_eq!(shared.queued(), lines(1..=2));
    }

    #[test]
    fn a_queue_that_drops_the_newest_keeps_the_first_in_stripes_as_well() {
        let shared = opened(WhenFull::DropNewest, 50);
        push_from_two_stripes(&shared, 2..=1_000);
        assert_eq!(shared.queued(), lines(1..=50));
        assert_eq!(shared.stats().ledger.accepted().points, 1_000);
    }

    #[test]
    fn where_a_push_may_be_refused_there_are_no_stripes() {
        let room = STRIPES * LINES_MAX;
        let shared = opened(WhenFull::Refuse, room);
        assert!(!are_open(&shared), "with the first point there is one too few");
        let shared = opened(WhenFull::Refuse, room + 1);
        assert!(are_open(&shared));
        (2..=room as u64 + 1).for_each(|n| assert_eq!(push(&shared, n), Ok(n)));
        assert_eq!(push(&shared, 0), Err(PushRefusal::Full));
        assert_eq!(shared.stats().pending.points, room as u64 + 1);
    }

    #[test]
    fn what_no_stripe_holds_and_what_goes_elsewhere_comes_behind_what_lies_there() {
        let shared = opened(WhenFull::DropOldest, 100_000);
        assert_eq!(push(&shared, 2), Ok(2));
        let long = format!("m s=\"{}\"\n", "x".repeat(BYTES_MAX));
        assert_eq!(push_text(&shared, &long), Ok(3));
        assert!(!are_open(&shared));
        open(&shared);
        assert_eq!(push(&shared, 4), Ok(4));
        let elsewhere = Arc::new(Destination::new("elsewhere"));
        assert_eq!(shared.push_line(b"m n=5i\n", 0, &elsewhere).map(|pushed| pushed.number), Ok(5));
        assert_eq!(shared.queued(), lines(1..=2) + &long + &lines(4..=5));
    }

    #[test]
    fn without_a_point_whose_age_is_watched_there_are_no_stripes() {
        let shared = opened(WhenFull::DropOldest, 100_000);
        assert_eq!(shared.queued(), lines(1..=1));
        open(&shared);
        assert!(!are_open(&shared));
    }

    #[test]
    fn after_a_stop_nothing_is_put_into_a_stripe() {
        let shared = opened(WhenFull::DropOldest, 100_000);
        assert_eq!(push(&shared, 2), Ok(2));
        assert!(shared.with(Transit::stop));
        assert_eq!(push(&shared, 3), Err(PushRefusal::Stopped));
        open(&shared);
        assert_eq!(push(&shared, 3), Err(PushRefusal::Stopped));
        assert_eq!(shared.queued(), lines(1..=2));
    }

    #[test]
    fn who_looks_hears_that_a_batch_was_filled_in_a_stripe() {
        let shared = opened(WhenFull::DropOldest, 100_000);
        let full = shared.config().batch.points_max.get() as u64;
        push_from_two_stripes(&shared, 2..=full - 1);
        open(&shared);
        assert!(!shared.look().wake);
        open(&shared);
        assert_eq!(push(&shared, full), Ok(full));
        assert!(shared.look().wake);
    }
}
