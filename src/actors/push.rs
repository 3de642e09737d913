//! The way in, on the caller's thread, under one short lock.
//!
//! A plain point is encoded where it stays: in the buffer that becomes the body. Other threads have read that memory meanwhile, and it
//! comes from afar; while a point is encoded there is time for that, where a copy would make the unlocking wait for it. Everything
//! else is encoded first and then appended: what is long or refused, or meets a full queue or another thread.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use super::shared::Shared;
use crate::machines::queue::EncodedLine;
use crate::machines::transit::{PushRefusal, Pushed, Transit};
use crate::values::batch::Destination;
use crate::values::config::MissingTimestamp;
use crate::values::error::{PushReason, PushReport, RefusedItem, RefusedReason};
use crate::values::line_protocol::encode::{Encode, Encoding};
use crate::values::line_protocol::encoder::Encoded;
use crate::values::line_protocol::line::Line;
use crate::values::line_protocol::problem::{LineError, PointError};
use crate::values::point::Point;
use crate::values::precision::Timestamp;
use crate::values::seq::Seq;

/// Encoded lines gathered before the lock is taken once for all of them: few enough that nobody waits for long.
const TOGETHER_BYTES: usize = 32 << 10;

/// A scratch buffer that grew beyond this is given back after use.
const SCRATCH_BYTES_MAX: usize = 1 << 20;

/// How a push behaves when there is no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Room {
    /// The queue's policy decides.
    ByPolicy,
    /// It waits, by blocking the thread.
    Blocking,
}

/// Encoded lines on one thread, on their way to the queue.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    bytes: Vec<u8>,
    lines: Vec<ScratchLine>,
}

#[derive(Clone, Copy, Debug)]
struct ScratchLine {
    end: usize,
    timestamp: i64,
    /// Which of the caller's items it is.
    index: usize,
}

thread_local! {
    static SCRATCH: Cell<Option<Box<Scratch>>> = const { Cell::new(None) };
}

impl Shared {
    /// Encodes one point and appends it.
    #[inline(always)]
    pub(crate) fn push_one(
        &self,
        destination: &Arc<Destination>,
        room: Room,
        point: &impl Encode,
    ) -> Result<Seq, PushReason> {
        self.finish_push(self.push_to_end(destination, room, point))
    }

    /// The same up to the queue, with what came of it in few bytes.
    #[inline(always)]
    fn push_to_end(
        &self,
        destination: &Arc<Destination>,
        room: Room,
        point: &impl Encode,
    ) -> Result<Pushed, Unpushed> {
        let Some(mut place) = self.place(destination) else {
            return self.push_from_scratch(destination, room, |stamp, out| point.encode(stamp, out));
        };
        let (encoded, may_be) = self.stamping(|stamp| point.encode_plain(stamp, place.tail()));
        match encoded {
            Some(encoded) if may_be => Ok(self.keep(place, encoded.timestamp_nanos)),
            _ => {
                drop(place);
                self.push_from_scratch(destination, room, |stamp, out| point.encode_unplain(stamp, out))
            }
        }
    }

    /// Encodes one point with `encode`, apart from the queue, and appends it.
    #[inline(always)]
    fn push_from_scratch(
        &self,
        destination: &Arc<Destination>,
        room: Room,
        encode: impl FnOnce(&dyn Fn() -> i64, &mut Vec<u8>) -> Result<Encoded, PointError>,
    ) -> Result<Pushed, Unpushed> {
        with_scratch(|scratch| {
            let timestamp = self.encode(&mut scratch.bytes, encode).map_err(Box::new)?.timestamp_nanos;
            let bytes = &scratch.bytes[..];
            let pushed = match room {
                Room::ByPolicy => self.push_line(bytes, timestamp, destination),
                Room::Blocking => self.push_blocking(EncodedLine { bytes, timestamp }, destination),
            };
            Ok(pushed?)
        })
    }

    /// Encodes one point and appends it as soon as there is room for it.
    pub(crate) async fn push_when_room(
        &self,
        destination: &Arc<Destination>,
        point: &impl Encode,
    ) -> Result<Seq, PushReason> {
        let mut bytes = Vec::new();
        let timestamp = self.encode(&mut bytes, |stamp, out| point.encode(stamp, out))?.timestamp_nanos;
        let line = EncodedLine { bytes: &bytes, timestamp };
        let pushed = self.wait_until(|transit| try_push(transit, line, destination)).await;
        self.finish_push(pushed.map_err(Unpushed::from))
    }

    fn push_blocking(
        &self,
        line: EncodedLine<'_>,
        destination: &Arc<Destination>,
    ) -> Result<Pushed, PushRefusal> {
        // Without room what can make some is woken first: a thread that sleeps wakes nobody.
        self.with(|transit| try_push(transit, line, destination)).unwrap_or_else(|| {
            self.batcher.ring();
            self.block_until(|transit| try_push(transit, line, destination))
        })
    }

    /// Checks raw lines and appends those that pass.
    pub(crate) fn push_text(&self, text: &[u8], destination: &Arc<Destination>, room: Room) -> PushReport {
        let mut report = PushReport::default();
        with_scratch(|scratch| {
            for line in self.encoder.lines(text) {
                let number = line.as_ref().map_or_else(LineError::line, Line::number);
                let index = usize::try_from(number - 1).unwrap_or(usize::MAX);
                match line {
                    Ok(line) if self.refuses_stamps() && !line.has_timestamp() => {
                        self.refuse(&mut report, index, PushReason::NoTimestamp);
                    }
                    Ok(line) => {
                        let encoded = line.write(|| self.stamp(), &mut scratch.bytes);
                        scratch.end_line(encoded.timestamp_nanos, index);
                    }
                    Err(error) => self.refuse(&mut report, index, error),
                }
                if scratch.bytes.len() >= TOGETHER_BYTES {
                    self.append_all(scratch, destination, room, &mut report);
                }
            }
            self.append_all(scratch, destination, room, &mut report);
        });
        report
    }

    /// Encodes points and appends those that can be written.
    pub(crate) fn push_many(
        &self,
        points: impl IntoIterator<Item = Point>,
        destination: &Arc<Destination>,
        room: Room,
    ) -> PushReport {
        let mut report = PushReport::default();
        with_scratch(|scratch| {
            let push_each = || {
                for (index, point) in points.into_iter().enumerate() {
                    let point = self.encoding(&point);
                    match self.encode(&mut scratch.bytes, |stamp, out| point.encode(stamp, out)) {
                        Ok(encoded) => scratch.end_line(encoded.timestamp_nanos, index),
                        Err(reason) => report.refused.push(RefusedItem { index, reason: reason.into() }),
                    }
                    if scratch.bytes.len() >= TOGETHER_BYTES {
                        self.append_all(scratch, destination, room, &mut report);
                    }
                }
            };
            // The iterator is the caller's, and so is its panic; what it had given before is pushed.
            let walked = catch_unwind(AssertUnwindSafe(push_each));
            self.append_all(scratch, destination, room, &mut report);
            if let Err(panic) = walked {
                resume_unwind(panic);
            }
        });
        report
    }

    /// Encodes one point behind what is in `out`. If it is refused that is counted, and `out` is as before.
    #[inline(always)]
    fn encode(
        &self,
        out: &mut Vec<u8>,
        encode: impl FnOnce(&dyn Fn() -> i64, &mut Vec<u8>) -> Result<Encoded, PointError>,
    ) -> Result<Encoded, PushReason> {
        let start = out.len();
        let (encoded, may_be) = self.stamping(|stamp| encode(stamp, out));
        let reason = match encoded {
            Ok(encoded) if may_be => return Ok(encoded),
            Ok(_) => {
                out.truncate(start);
                PushReason::NoTimestamp
            }
            Err(error) => error.into(),
        };
        self.with(|transit| transit.count_refused(1));
        Err(reason)
    }

    /// What `encode` makes of a stamp, if it asks for one, and whether it may have one.
    #[inline(always)]
    fn stamping<R>(&self, encode: impl FnOnce(&dyn Fn() -> i64) -> R) -> (R, bool) {
        let stamped = Cell::new(false);
        let result = encode(&|| {
            stamped.set(true);
            self.stamp()
        });
        (result, !stamped.get() || !self.refuses_stamps())
    }

    fn append_all(
        &self,
        scratch: &mut Scratch,
        destination: &Arc<Destination>,
        room: Room,
        report: &mut PushReport,
    ) {
        let mut wake = false;
        let mut next = 0;
        while next < scratch.lines.len() {
            let appended = self.with(|transit| {
                while let Some(line) = scratch.line(next) {
                    let pushed = match room {
                        Room::ByPolicy => Some(transit.push(line, destination, Instant::now)),
                        Room::Blocking => try_push(transit, line, destination),
                    };
                    // No room: what waits is woken to make some, and this thread waits outside of the loop.
                    let Some(pushed) = pushed else { return Appended::WaitAt(next) };
                    wake |= self.note(pushed, scratch.lines[next].index, report);
                    next += 1;
                }
                Appended::All
            });
            if std::mem::take(&mut wake) {
                self.batcher.ring();
            }
            if let Appended::WaitAt(at) = appended {
                let Some(line) = scratch.line(at) else { break };
                let pushed = self.push_blocking(line, destination);
                wake |= self.note(pushed, scratch.lines[at].index, report);
                next = at + 1;
                if std::mem::take(&mut wake) {
                    self.batcher.ring();
                }
            }
        }
        scratch.clear();
    }

    fn note(&self, pushed: Result<Pushed, PushRefusal>, index: usize, report: &mut PushReport) -> bool {
        match pushed {
            Ok(pushed) => {
                report.accepted += 1;
                report.last = Some(Seq::new(self.tag, pushed.number));
                pushed.wake
            }
            Err(refusal) => {
                report.refused.push(RefusedItem { index, reason: RefusedReason::Push(reason_of(refusal)) });
                false
            }
        }
    }

    #[inline(always)]
    fn finish_push(&self, pushed: Result<Pushed, Unpushed>) -> Result<Seq, PushReason> {
        let pushed = pushed.map_err(|unpushed| match unpushed {
            Unpushed::Unencoded(reason) => *reason,
            Unpushed::Refused(refusal) => reason_of(refusal),
        })?;
        if pushed.wake {
            self.batcher.ring();
        }
        Ok(Seq::new(self.tag, pushed.number))
    }

    fn refuse(&self, report: &mut PushReport, index: usize, reason: impl Into<RefusedReason>) {
        self.with(|transit| transit.count_refused(1));
        report.refused.push(RefusedItem { index, reason: reason.into() });
    }

    /// A point, to be encoded for this database.
    pub(crate) const fn encoding<'a, P>(&'a self, point: &'a P) -> Encoding<'a, P> {
        Encoding { point, encoder: &self.encoder }
    }

    fn refuses_stamps(&self) -> bool {
        self.missing_timestamp == MissingTimestamp::Refuse
    }

    fn stamp(&self) -> i64 {
        self.stamper.stamp(Timestamp::from(SystemTime::now()).nanos())
    }
}

/// Why a point is not in the queue, in few bytes: what is handed from branch to branch is copied each time.
enum Unpushed {
    Unencoded(Box<PushReason>),
    Refused(PushRefusal),
}

impl From<Box<PushReason>> for Unpushed {
    fn from(reason: Box<PushReason>) -> Self {
        Self::Unencoded(reason)
    }
}

impl From<PushRefusal> for Unpushed {
    fn from(refusal: PushRefusal) -> Self {
        Self::Refused(refusal)
    }
}

enum Appended {
    All,
    WaitAt(usize),
}

impl Scratch {
    fn end_line(&mut self, timestamp: i64, index: usize) {
        self.lines.push(ScratchLine { end: self.bytes.len(), timestamp, index });
    }

    fn line(&self, number: usize) -> Option<EncodedLine<'_>> {
        let line = self.lines.get(number)?;
        let start = number.checked_sub(1).map_or(0, |before| self.lines[before].end);
        Some(EncodedLine { bytes: &self.bytes[start..line.end], timestamp: line.timestamp })
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.lines.clear();
        if self.bytes.capacity() > SCRATCH_BYTES_MAX {
            self.bytes = Vec::new();
        }
    }
}

/// The thread's buffer, empty. A push from within a push, as an iterator of points might do, gets one of its own.
///
/// The buffer is taken out of its place and put back, so that all this is inlined. In a call the result, the line and what is
/// captured would be copied sixteen bytes at a time right after they were written eight at a time, and for each of these
/// copies the processor waits until memory has both halves: a tenth of what a push takes.
#[inline(always)]
fn with_scratch<R>(act: impl FnOnce(&mut Scratch) -> R) -> R {
    let mut scratch = SCRATCH.take().unwrap_or_default();
    scratch.clear();
    let result = act(&mut scratch);
    SCRATCH.with(|place| place.set(Some(scratch)));
    result
}

fn try_push(
    transit: &mut Transit,
    line: EncodedLine<'_>,
    destination: &Arc<Destination>,
) -> Option<Result<Pushed, PushRefusal>> {
    match transit.push_if_room(line, destination, Instant::now) {
        Err(PushRefusal::Full) => None,
        other => Some(other),
    }
}

fn reason_of(refusal: PushRefusal) -> PushReason {
    match refusal {
        PushRefusal::Full => PushReason::Full,
        PushRefusal::TooLarge => PushReason::TooLarge,
        PushRefusal::Stopped => PushReason::Stopped,
    }
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroUsize;

    use super::*;
    use crate::actors::stripes::Stripes;
    use crate::values::config::{Compression, Config, WhenFull};
    use crate::values::line_protocol::PLAIN_BYTES_MAX;
    use crate::values::line_protocol::encoder::Encoder;

    /// So many that there is room behind them in the buffer they lie in.
    const POINTS: u64 = 450;

    fn shared(change: impl FnOnce(&mut Config)) -> Shared {
        let mut config = Config::new("plant", "http://127.0.0.1:9");
        config.batch.compression = Compression::None;
        change(&mut config);
        let encoder = Encoder::new(config.precision, &config.lines).unwrap();
        Shared::new(config, encoder, None, None).unwrap()
    }

    fn push(shared: &Shared, point: &Point) -> Result<Seq, PushReason> {
        shared.push_one(&shared.destination, Room::ByPolicy, &shared.encoding(point))
    }

    fn point(n: u64) -> Point {
        Point::new("m").field("n", n as f64).timestamp(Timestamp::from_nanos(n as i64))
    }

    /// Not plain.
    fn long(n: u64) -> Point {
        point(n).tag("a", "b".repeat(PLAIN_BYTES_MAX))
    }

    #[test]
    fn what_is_encoded_in_place_and_what_is_not_lie_in_the_order_they_were_pushed_in() {
        for (points_max, has_place) in [(3, false), (1_000, true)] {
            let shared = shared(|config| config.queue.points_max = NonZeroUsize::new(points_max).unwrap());
            let mut expected = Vec::new();
            for n in 1..=POINTS {
                let point = if n % 3 == 0 { long(n) } else { point(n) };
                assert_eq!(push(&shared, &point).map(Seq::number), Ok(n));
                let mut line = Vec::new();
                shared.encoder.encode(&point, || 0, &mut line).unwrap();
                expected.push(String::from_utf8(line).unwrap());
            }
            assert_eq!(shared.place(&shared.destination).is_some(), has_place);
            let kept = expected.len().saturating_sub(points_max);
            assert_eq!(shared.queued(), expected[kept..].concat());
            assert_eq!(shared.stats().ledger.accepted().points, POINTS);
        }
    }

    #[test]
    fn of_a_point_that_is_refused_nothing_stays_in_its_place() {
        let shared = shared(|config| {
            config.missing_timestamp = MissingTimestamp::Refuse;
            config.queue.when_full = WhenFull::Refuse;
        });
        (1..=POINTS).for_each(|n| assert!(push(&shared, &point(n)).is_ok()));
        assert!(shared.place(&shared.destination).is_some());
        let refused = [
            Point::new("m").field("n", 1.0),
            Point::new("m").field("n", f64::NAN).timestamp(Timestamp::from_nanos(1)),
            Point::new("m").field("n", 1.0).timestamp(Timestamp::from_nanos(i64::MIN)),
        ];
        for point in &refused {
            assert!(push(&shared, point).is_err(), "{point:?}");
        }
        assert_eq!(shared.stats().refused_total, 3);
        assert_eq!(push(&shared, &point(POINTS + 1)).map(Seq::number), Ok(POINTS + 1));
        assert_eq!(shared.queued(), (1..=POINTS + 1).map(|n| format!("m n={n}.0 {n}\n")).collect::<String>());
    }

    #[test]
    fn while_lines_are_put_into_stripes_none_is_written_in_place() {
        let shared = shared(|config| config.batch.points_max = NonZeroUsize::MAX);
        (1..=POINTS).for_each(|n| assert!(push(&shared, &point(n)).is_ok()));
        shared.open_stripes(&shared.look().transit);
        assert!(shared.place(&shared.destination).is_none());
        for n in POINTS + 1..=POINTS + 10 {
            assert_eq!(push(&shared, &point(n)).map(Seq::number), Ok(n));
        }
        assert!(shared.stripes().is_some_and(Stripes::are_open));
        assert_eq!(
            shared.queued(),
            (1..=POINTS + 10).map(|n| format!("m n={n}.0 {n}\n")).collect::<String>()
        );
    }

    /// It has written half a line when it panics.
    struct Panics;

    impl Encode for Panics {
        fn encode_plain(&self, _: &dyn Fn() -> i64, out: &mut Vec<u8>) -> Option<Encoded> {
            out.extend_from_slice(b"m n=");
            panic!("an encoder's");
        }

        fn encode_unplain(&self, _: &dyn Fn() -> i64, _: &mut Vec<u8>) -> Result<Encoded, PointError> {
            unreachable!("it has panicked")
        }
    }

    #[test]
    fn an_encoder_that_panics_leaves_nothing_in_its_place() {
        let shared = shared(|_| ());
        (1..=POINTS).for_each(|n| assert!(push(&shared, &point(n)).is_ok()));
        assert!(shared.place(&shared.destination).is_some());
        let panics = AssertUnwindSafe(|| shared.push_one(&shared.destination, Room::ByPolicy, &Panics));
        assert!(catch_unwind(panics).is_err());
        assert_eq!(push(&shared, &point(POINTS + 1)).map(Seq::number), Ok(POINTS + 1));
        assert_eq!(shared.queued(), (1..=POINTS + 1).map(|n| format!("m n={n}.0 {n}\n")).collect::<String>());
    }
}
