//! One batch on its way: from the queue, or from the spool, to its fate.

use std::sync::Arc;
use std::time::Instant;

use super::send::LoadPart;
use crate::machines::codec;
use crate::machines::division::{Division, Lines};
use crate::machines::plan::{DirectFate, Quarantined, RowId};
use crate::machines::queue::{LineEnds, Segment};
use crate::machines::verdict::Trouble;
use crate::values::batch::{Batch, Codec, Destination};
use crate::values::config::Compression;
use crate::values::fate::Fate;
use crate::values::ledger::Tally;
use crate::values::seq::SeqRange;

/// Who has a batch in hand: a sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Holder {
    pub(crate) wire: Wire,
    /// Its number among the senders of this wire.
    pub(crate) number: usize,
}

/// What a sender sends by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Wire {
    Http,
    Udp,
}

impl Holder {
    pub(crate) const fn http(number: usize) -> Self {
        Self { wire: Wire::Http, number }
    }

    pub(crate) const fn udp(number: usize) -> Self {
        Self { wire: Wire::Udp, number }
    }
}

/// A batch on its way, and how far it has come. It belongs to no actor; actors work on its key and on shared bytes.
#[derive(Debug)]
pub(super) struct Held {
    /// The numbers of its points. The first moves on when the oldest points are shed.
    pub(super) seqs: SeqRange,
    /// Bytes of its plain lines.
    pub(super) raw_len: u64,
    pub(super) content: Content,
    /// Where the lines end of which the body was made, in this life of the database: some may be shed still.
    pub(super) line_ends: Option<LineEnds>,
    /// Whether somebody is making a body of it.
    pub(super) sealing: bool,
    /// Its row in the spool, once stored.
    pub(super) row: Option<RowId>,
    /// Whether a sender or the disk waits for its body. Then it is not shed any more: under a steady overload a batch
    /// that shrinks with every push would never be finished, and nothing would leave.
    pub(super) wanted: bool,
    /// The number of the transaction that stored it, in this life of the database; else 0.
    pub(super) stored_in: u64,
    /// Whether its row was lost with a damaged file, which counts it as damaged.
    pub(super) written_off: bool,
    /// Whether it is part of the transaction that is under way.
    pub(super) saving: bool,
    pub(super) leased: Option<Holder>,
    /// When its oldest point was pushed; `None` if in an earlier life.
    pub(super) oldest: Option<Instant>,
    pub(super) attempts: u32,
    pub(super) panics: u32,
    /// What the server answers to this batch again and again, if it may be the batch's own doing.
    pub(super) fault: Option<Fault>,
    /// The batch's points part ways.
    pub(super) division: Option<Box<Division>>,
}

/// The same failure, seen again and again.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) trouble: Trouble,
    pub(super) since: Instant,
    pub(super) times: u32,
}

/// What there is of a batch.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Lines, as drained from the queue.
    Lines(Arc<Segment>),
    /// The finished batch.
    Body(Batch),
}

impl Held {
    pub(super) fn tally(&self) -> Tally {
        Tally::new(self.seqs.points(), self.raw_len)
    }

    /// The fate of the whole batch, where it has no row to settle.
    pub(super) const fn met(&self, fate: Fate, quarantine: Option<Quarantined>) -> DirectFate {
        let Self { seqs, raw_len, written_off, .. } = *self;
        DirectFate { seqs, bytes: raw_len, fate, quarantine, written_off }
    }

    /// The finished batch, unless it has to be made first: from lines, or anew because some of its points were shed.
    pub(super) fn batch(&self) -> Option<&Batch> {
        match &self.content {
            Content::Body(batch) if batch.seqs == self.seqs => Some(batch),
            _ => None,
        }
    }

    /// What of it is to be sent next, if it is divided.
    pub(super) fn next_part(&self) -> Option<LoadPart> {
        let division = self.division.as_ref()?;
        let part = division.next()?;
        Some(LoadPart { lines: Arc::clone(division.lines()), indexes: Arc::clone(&part.indexes) })
    }

    /// Bytes of the plain lines that are to be sent next.
    pub(super) fn next_bytes(&self) -> u64 {
        self.next_part().map_or(self.raw_len, |part| part.lines.bytes_of(&part.indexes))
    }

    /// Where it goes.
    pub(super) fn destination(&self) -> &Destination {
        match &self.content {
            Content::Lines(segment) => segment.destination(),
            Content::Body(batch) => &batch.destination,
        }
    }

    /// Whether somebody is sending it, or has sent some of it.
    pub(super) const fn is_in_work(&self) -> bool {
        self.leased.is_some() || self.division.is_some()
    }

    pub(super) const fn is_volatile(&self) -> bool {
        self.row.is_none()
    }

    /// Whether nobody has it in hand or waits for it, so that its points may still be shed.
    pub(super) const fn is_free(&self) -> bool {
        !self.is_in_work() && !self.saving && self.row.is_none() && !self.wanted
    }

    /// Whether its body has to be made: for the first time, its maker having died, or anew, for somebody who waits for
    /// it, some of its points having been shed. As long as nobody waits it may shrink as it is.
    pub(super) fn is_to_be_made(&self) -> bool {
        let unmade = matches!(self.content, Content::Lines(_)) || self.wanted;
        unmade && !self.sealing && self.batch().is_none()
    }

    /// Gives up the oldest of its points, of which there are several: one at least, and others as long as points or bytes are lacking.
    /// The last one stays, since with it the batch would have to go. The body is made anew before it is used.
    pub(super) fn shed_oldest(&mut self, lacking: Tally) -> (SeqRange, Tally) {
        let points_max = self.seqs.points() - 1;
        let mut points = lacking.points.clamp(1, points_max);
        while points < points_max && self.oldest_bytes(points) < lacking.bytes {
            points += 1;
        }
        let shed =
            (SeqRange::starting_at(self.seqs.first, points), Tally::new(points, self.oldest_bytes(points)));
        self.seqs.first += points;
        self.raw_len -= shed.1.bytes;
        shed
    }

    /// Bytes of the lines of its oldest points. Of a batch whose row was lost nobody knows where they end: there each counts as the
    /// average.
    fn oldest_bytes(&self, points: u64) -> u64 {
        let oldest = SeqRange::starting_at(self.seqs.first, points);
        match (&self.content, &self.line_ends) {
            (Content::Lines(segment), _) => segment.bytes_of(oldest),
            (Content::Body(_), Some(ends)) => ends.bytes_of(oldest),
            (Content::Body(_), None) => self.raw_len / self.seqs.points() * points,
        }
    }
}

/// The work of making a body, to be done outside every lock.
#[derive(Debug)]
pub(crate) struct SealJob {
    pub(crate) key: u64,
    pub(super) content: Content,
    pub(super) seqs: SeqRange,
    pub(super) compression: Compression,
    pub(super) created_ms: i64,
}

impl SealJob {
    /// Bytes of the lines to be compressed, about.
    pub(crate) fn raw_len(&self) -> u64 {
        match &self.content {
            Content::Lines(segment) => segment.tally().bytes,
            Content::Body(batch) => batch.raw_len,
        }
    }

    /// Makes the body: the bytes as they will be stored and posted.
    pub(crate) fn run(&self) -> Result<Batch, codec::BodyError> {
        match &self.content {
            Content::Lines(segment) => self.seal(segment),
            Content::Body(batch) => self.trim(batch),
        }
    }

    fn seal(&self, segment: &Arc<Segment>) -> Result<Batch, codec::BodyError> {
        let lines = segment.lines_from(self.seqs.first);
        let codec = codec::codec_for(self.compression, lines.len());
        Ok(Batch {
            seqs: self.seqs,
            destination: Arc::clone(segment.destination()),
            codec,
            raw_len: lines.len() as u64,
            span: segment.span(),
            created_ms: self.created_ms,
            body: match codec {
                Codec::Identity => segment.body_from(self.seqs.first),
                Codec::Gzip => codec::encode_body(codec, lines),
            },
        })
    }

    fn trim(&self, batch: &Batch) -> Result<Batch, codec::BodyError> {
        let all = Lines::of(batch)?;
        let skip = u32::try_from(self.seqs.first - batch.seqs.first).unwrap_or(u32::MAX);
        let lines = all.slice(skip, u32::MAX);
        let codec = codec::codec_for(self.compression, lines.len());
        Ok(Batch {
            seqs: self.seqs,
            raw_len: lines.len() as u64,
            codec,
            body: codec::encode_body(codec, &lines),
            ..batch.clone()
        })
    }
}
