//! The sliding queue: encoded lines in segments, bounded in points and bytes, the oldest first out.
//!
//! A segment becomes a batch as it is: lines lie one after another in one buffer, so sealing copies nothing and
//! a push costs one `memcpy`, or none if the line is written in place, and one 4-byte offset. Dropping the oldest point moves an index; the buffer of a
//! segment that nobody holds any more is used again, whoever was the last: the queue, a maker of bodies, or a body. Nothing
//! here allocates for a point once buffers are warm.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::spare::{self, Home, Spares};
use crate::values::batch::{Destination, TimeSpan};
use crate::values::ledger::Tally;
use crate::values::seq::SeqRange;

/// When a segment is full and the next one begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentLimits {
    pub(crate) points_max: usize,
    pub(crate) bytes_max: usize,
}

/// One encoded point on its way into the queue.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EncodedLine<'a> {
    /// Line protocol, ended by a newline.
    pub(crate) bytes: &'a [u8],
    /// The point's own time, nanoseconds since 1970.
    pub(crate) timestamp: i64,
}

/// Lines that lie together: what the next batch is made of.
#[derive(Debug)]
pub(crate) struct Segment {
    first: u64,
    destination: Arc<Destination>,
    bytes: Vec<u8>,
    ends: Vec<u32>,
    /// Where its buffers go when nobody holds it any more.
    home: Home,
    dropped: usize,
    span: TimeSpan,
    opened: Instant,
}

impl Segment {
    /// The numbers of the points that are left in it.
    pub(crate) fn seqs(&self) -> SeqRange {
        SeqRange::starting_at(self.first + self.dropped as u64, self.points() as u64)
    }

    pub(crate) fn points(&self) -> usize {
        self.ends.len() - self.dropped
    }

    /// The lines that are left in it.
    pub(crate) fn lines(&self) -> &[u8] {
        &self.bytes[self.start()..]
    }

    /// The lines from the point `seq` on.
    pub(crate) fn lines_from(&self, seq: u64) -> &[u8] {
        &self.bytes[start_of(seq, self.first, &self.ends)..]
    }

    /// Where its lines end, by themselves.
    pub(crate) fn line_ends(&self) -> LineEnds {
        LineEnds { first: self.first, ends: self.ends.as_slice().into() }
    }

    /// Bytes of the lines of these points.
    pub(crate) fn bytes_of(&self, seqs: SeqRange) -> u64 {
        bytes_of(seqs, self.first, &self.ends)
    }

    /// The same as a body, without a copy if they fill most of the buffer; otherwise a few lines would keep a buffer for
    /// thousands from its next use. The buffer is used again when the body is gone, never before.
    pub(crate) fn body_from(self: &Arc<Self>, seq: u64) -> Bytes {
        let lines = self.lines_from(seq);
        if lines.len() < self.bytes.capacity() / 2 {
            return Bytes::copy_from_slice(lines);
        }
        Bytes::from_owner(Body { start: self.bytes.len() - lines.len(), segment: Arc::clone(self) })
    }

    pub(crate) const fn destination(&self) -> &Arc<Destination> {
        &self.destination
    }

    pub(crate) const fn span(&self) -> TimeSpan {
        self.span
    }

    /// When its first point was pushed.
    pub(crate) const fn opened(&self) -> Instant {
        self.opened
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally::new(self.points() as u64, self.lines().len() as u64)
    }

    /// Bytes and points, those included that were dropped.
    fn size(&self) -> (usize, usize) {
        (self.bytes.len(), self.ends.len())
    }

    fn start(&self) -> usize {
        if self.dropped == 0 { 0 } else { self.ends[self.dropped - 1] as usize }
    }

    fn is_full(&self, limits: SegmentLimits) -> bool {
        self.ends.len() >= limits.points_max || self.bytes.len() >= limits.bytes_max
    }

    /// Whether `seq` is the number that comes next.
    fn is_before(&self, seq: u64) -> bool {
        self.first + self.ends.len() as u64 == seq
    }

    #[inline]
    fn takes(&self, line: &EncodedLine<'_>, destination: &Arc<Destination>, limits: SegmentLimits) -> bool {
        !self.is_full(limits)
            && self.bytes.len() + line.bytes.len() <= limits.bytes_max
            && (Arc::ptr_eq(&self.destination, destination) || self.destination == *destination)
    }

    /// Where its last line ends.
    fn end(&self) -> usize {
        self.ends.last().map_or(0, |end| *end as usize)
    }

    /// What lies behind the last line is one more.
    #[inline]
    fn end_line(&mut self, timestamp: i64) {
        self.ends.push(u32::try_from(self.bytes.len()).expect("segment limits keep a segment under 4 GiB"));
        self.span.include(timestamp);
    }

    /// Drops its oldest points: one at least, and others as long as one of the two is lacking.
    fn drop_oldest(&mut self, lacking: Tally) -> Tally {
        let (first, start) = (self.dropped, self.start());
        let points = usize::try_from(lacking.points).unwrap_or(usize::MAX);
        self.dropped += points.clamp(1, self.points());
        while ((self.start() - start) as u64) < lacking.bytes && self.points() > 0 {
            self.dropped += 1;
        }
        Tally::new((self.dropped - first) as u64, (self.start() - start) as u64)
    }
}

impl Drop for Segment {
    fn drop(&mut self) {
        self.home.give((std::mem::take(&mut self.bytes), std::mem::take(&mut self.ends)));
    }
}

/// Where the lines of a segment that is gone ended.
#[derive(Clone, Debug)]
pub(crate) struct LineEnds {
    first: u64,
    ends: Box<[u32]>,
}

impl LineEnds {
    /// Bytes of the lines of these points.
    pub(crate) fn bytes_of(&self, seqs: SeqRange) -> u64 {
        bytes_of(seqs, self.first, &self.ends)
    }
}

fn bytes_of(seqs: SeqRange, first: u64, ends: &[u32]) -> u64 {
    (start_of(seqs.last + 1, first, ends) - start_of(seqs.first, first, ends)) as u64
}

/// Where the line of a point begins, of those from `first` on, or behind the last where the next would.
fn start_of(seq: u64, first: u64, ends: &[u32]) -> usize {
    let skipped = usize::try_from(seq - first).expect("a segment's offsets fit in memory");
    if skipped == 0 { 0 } else { ends[skipped - 1] as usize }
}

/// Lines of a segment as a body. It keeps the segment.
struct Body {
    segment: Arc<Segment>,
    start: usize,
}

impl AsRef<[u8]> for Body {
    fn as_ref(&self) -> &[u8] {
        &self.segment.bytes[self.start..]
    }
}

/// Encoded points in the order they were pushed. What a push touches comes first.
#[derive(Debug, Default)]
#[repr(C)]
pub(crate) struct SlidingQueue {
    segments: VecDeque<Segment>,
    held: Tally,
    /// The size of the last segment that was taken out.
    taken: (usize, usize),
    spares: Spares,
}

impl SlidingQueue {
    /// Points in the queue, and the bytes of their lines.
    pub(crate) const fn held(&self) -> Tally {
        self.held
    }

    /// The number of the oldest point in the queue.
    pub(crate) fn first(&self) -> Option<u64> {
        self.segments.front().map(|segment| segment.seqs().first)
    }

    /// When the oldest segment was opened: no point in the queue has waited longer.
    pub(crate) fn opened(&self) -> Option<Instant> {
        self.segments.front().map(Segment::opened)
    }

    /// Appends one point, which gets the number `seq`, greater than all before. Says whether this opened or filled a
    /// segment, which is when somebody wants to know.
    ///
    /// A segment's numbers are dense: behind a number that was given away without being appended, a new one begins.
    #[inline]
    pub(crate) fn append(
        &mut self,
        seq: u64,
        line: EncodedLine<'_>,
        destination: &Arc<Destination>,
        limits: SegmentLimits,
        now: impl FnOnce() -> Instant,
    ) -> Milestone {
        let fits = self
            .segments
            .back()
            .is_some_and(|open| open.is_before(seq) && open.takes(&line, destination, limits));
        if !fits {
            self.open_segment(seq, line.timestamp, destination, now());
        }
        let open = self.segments.back_mut().expect("a segment is open: the line above sees to it");
        open.bytes.extend_from_slice(line.bytes);
        open.end_line(line.timestamp);
        self.held += Tally::new(1, line.bytes.len() as u64);
        match (fits, open.is_full(limits)) {
            (_, true) => Milestone::Filled,
            (false, false) => Milestone::Opened,
            (true, false) => Milestone::None,
        }
    }

    /// Whether a line of at most `bytes_max`, which would get the number `seq`, can be written where it stays: into the open segment's
    /// [`tail`](Self::tail).
    #[inline]
    pub(crate) fn has_place(
        &self,
        seq: u64,
        bytes_max: usize,
        destination: &Arc<Destination>,
        limits: SegmentLimits,
    ) -> bool {
        self.segments.back().is_some_and(|open| {
            open.is_before(seq)
                && !open.is_full(limits)
                && open.bytes.len() + bytes_max <= limits.bytes_max.min(open.bytes.capacity())
                && Arc::ptr_eq(&open.destination, destination)
        })
    }

    /// The lines of the open segment, to write one more behind them, which then is kept or dropped before anything else is done.
    #[inline]
    pub(crate) fn tail(&mut self) -> &mut Vec<u8> {
        &mut self.segments.back_mut().expect("there is a place in a segment that is open").bytes
    }

    /// Takes what was written to the tail as one more point.
    #[inline]
    pub(crate) fn keep_tail(&mut self, timestamp: i64, limits: SegmentLimits) -> (u64, Milestone) {
        let open = self.segments.back_mut().expect("there was a place in a segment that is open");
        let bytes = (open.bytes.len() - open.end()) as u64;
        open.end_line(timestamp);
        self.held += Tally::new(1, bytes);
        (bytes, if open.is_full(limits) { Milestone::Filled } else { Milestone::None })
    }

    /// Takes back what was written to the tail and is not kept.
    pub(crate) fn drop_tail(&mut self) {
        if let Some(open) = self.segments.back_mut() {
            open.bytes.truncate(open.end());
        }
    }

    /// Drops the oldest points: one at least, and others that lie beside it as long as one of the two is lacking. Returns the
    /// number of the first, and what they were; `None` if the queue is empty.
    pub(crate) fn drop_oldest(&mut self, lacking: Tally) -> Option<(u64, Tally)> {
        let segment = self.segments.front_mut()?;
        let first = segment.seqs().first;
        let dropped = segment.drop_oldest(lacking);
        self.held.points -= dropped.points;
        self.held.bytes -= dropped.bytes;
        if segment.points() == 0 {
            self.segments.pop_front();
        }
        Some((first, dropped))
    }

    /// Whether the oldest segment will take no more points.
    pub(crate) fn has_full_segment(&self, limits: SegmentLimits) -> bool {
        self.segments.len() > 1 || self.segments.front().is_some_and(|segment| segment.is_full(limits))
    }

    /// Takes the oldest segment out.
    pub(crate) fn take_segment(&mut self) -> Option<Segment> {
        let segment = self.segments.pop_front()?;
        let tally = segment.tally();
        self.taken = segment.size();
        self.held.points -= tally.points;
        self.held.bytes -= tally.bytes;
        Some(segment)
    }

    /// Gives memory back that only waits for the next points; none while there are any.
    pub(crate) fn rest(&self) {
        if self.segments.is_empty() {
            self.spares.let_go();
        }
    }

    fn open_segment(&mut self, first: u64, timestamp: i64, destination: &Arc<Destination>, opened: Instant) {
        let (mut bytes, mut ends) = self.spares.take().unwrap_or_default();
        // As large as the one before it and a little more, or what is in it would be copied again and again while it grows. Not
        // twice as large: of a buffer that is half empty the body is a copy.
        let (usual_bytes, usual_points) = self.segments.back().map_or(self.taken, Segment::size);
        let with_spare = |spare: usize| (usual_bytes + usual_bytes / spare).min(spare::BYTES_MAX);
        if bytes.capacity() < with_spare(32) {
            bytes.reserve_exact(with_spare(16));
        }
        ends.reserve(usual_points);
        self.segments.push_back(Segment {
            first,
            destination: Arc::clone(destination),
            bytes,
            ends,
            home: self.spares.home().clone(),
            dropped: 0,
            span: TimeSpan::at(timestamp),
            opened,
        });
    }
}

/// What an append did that somebody may wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Milestone {
    /// Nothing: the segment goes on.
    None,
    /// A segment was opened: its age begins to count.
    Opened,
    /// A segment is full: it can be sealed.
    Filled,
}

#[cfg(test)]
mod tests;
