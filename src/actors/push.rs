//! The way in, on the caller's thread: encode, then append under one short lock.

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
use crate::values::line_protocol::encoder::Encoded;
use crate::values::line_protocol::line::Line;
use crate::values::line_protocol::problem::{LineError, PointError};
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
    /// Encodes one point with `encode` and appends it.
    #[inline]
    pub(crate) fn push_with(
        &self,
        destination: &Arc<Destination>,
        room: Room,
        encode: impl FnOnce(&mut Vec<u8>, &dyn Fn() -> i64) -> Result<Encoded, PointError>,
    ) -> Result<Seq, PushReason> {
        with_scratch(|scratch| {
            let (end, timestamp) = self.encode_after(&mut scratch.bytes, 0, encode)?;
            let bytes = &scratch.bytes[..end];
            let pushed = match room {
                Room::ByPolicy => self.push_line(bytes, timestamp, destination),
                Room::Blocking => self.push_blocking(EncodedLine { bytes, timestamp }, destination),
            };
            self.finish_push(pushed)
        })
    }

    /// Encodes one point with `encode` and appends it as soon as there is room for it.
    pub(crate) async fn push_when_room(
        &self,
        destination: &Arc<Destination>,
        encode: impl FnOnce(&mut Vec<u8>, &dyn Fn() -> i64) -> Result<Encoded, PointError>,
    ) -> Result<Seq, PushReason> {
        let mut bytes = Vec::new();
        let (_, timestamp) = self.encode_after(&mut bytes, 0, encode)?;
        let line = EncodedLine { bytes: &bytes, timestamp };
        let pushed = self.wait_until(|transit| try_push(transit, line, destination)).await;
        self.finish_push(pushed)
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

    /// Encodes points with `encode` and appends those that can be written.
    pub(crate) fn push_many<T>(
        &self,
        items: impl IntoIterator<Item = T>,
        destination: &Arc<Destination>,
        room: Room,
        encode: impl Fn(&T, &mut Vec<u8>, &dyn Fn() -> i64) -> Result<Encoded, PointError>,
    ) -> PushReport {
        let mut report = PushReport::default();
        with_scratch(|scratch| {
            let push_each = || {
                for (index, item) in items.into_iter().enumerate() {
                    let start = scratch.bytes.len();
                    match self.encode_after(&mut scratch.bytes, start, |out, stamp| encode(&item, out, stamp))
                    {
                        Ok((_, timestamp)) => scratch.end_line(timestamp, index),
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

    /// Encodes one line behind `start`, and refuses it if it asked for a stamp that may not be given. Its end, and its time.
    #[inline(always)]
    fn encode_after(
        &self,
        out: &mut Vec<u8>,
        start: usize,
        encode: impl FnOnce(&mut Vec<u8>, &dyn Fn() -> i64) -> Result<Encoded, PointError>,
    ) -> Result<(usize, i64), PushReason> {
        let stamped = Cell::new(false);
        let stamp = || {
            stamped.set(true);
            self.stamp()
        };
        let encoded = match encode(out, &stamp) {
            Ok(encoded) => encoded,
            Err(error) => {
                self.with(|transit| transit.count_refused(1));
                return Err(error.into());
            }
        };
        if stamped.get() && self.refuses_stamps() {
            out.truncate(start);
            self.with(|transit| transit.count_refused(1));
            return Err(PushReason::NoTimestamp);
        }
        Ok((out.len(), encoded.timestamp_nanos))
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

    fn finish_push(&self, pushed: Result<Pushed, PushRefusal>) -> Result<Seq, PushReason> {
        let pushed = pushed.map_err(reason_of)?;
        if pushed.wake {
            self.batcher.ring();
        }
        Ok(Seq::new(self.tag, pushed.number))
    }

    fn refuse(&self, report: &mut PushReport, index: usize, reason: impl Into<RefusedReason>) {
        self.with(|transit| transit.count_refused(1));
        report.refused.push(RefusedItem { index, reason: reason.into() });
    }

    fn refuses_stamps(&self) -> bool {
        self.missing_timestamp == MissingTimestamp::Refuse
    }

    fn stamp(&self) -> i64 {
        self.stamper.stamp(Timestamp::from(SystemTime::now()).nanos())
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
