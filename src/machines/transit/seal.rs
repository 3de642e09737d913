//! From lines to bodies: which segments are due, and what becomes of them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::held::Content;
use super::{Held, SealJob, Transit};
use crate::machines::later;
use crate::machines::plan::Quarantined;
use crate::machines::queue::Segment;
use crate::values::batch::Batch;
use crate::values::config::Compression;
use crate::values::fate::QuarantineReason;

/// How many sealed batches may wait in memory for a sender or for the disk. Two are compressed while one is stored and
/// one is sent; the rest evens out a slow moment. What does not fit waits in the queue, where it can slide exactly.
const SEALED_MAX: usize = 8;

/// With no loss window at all points are still gathered this long, if they may linger: some ten commits' time.
const LINGER_DURABLE: Duration = Duration::from_millis(5);

/// A batch that was in work during this many panics is set aside.
pub(super) const PANICS_MAX: u32 = 2;

impl Transit {
    /// Takes what is due to be sealed, at most `jobs_max` batches.
    pub(crate) fn take_seal_jobs(&mut self, jobs_max: usize, now: Instant, wall_ms: i64) -> Vec<SealJob> {
        let mut jobs = Vec::new();
        while jobs.len() < jobs_max {
            let Some(job) = self.remake(wall_ms).or_else(|| self.drain(now, wall_ms)) else { break };
            jobs.push(job);
        }
        jobs
    }

    /// When the oldest segment is due, if nothing else happens before.
    pub(crate) fn next_seal_at(&self) -> Option<Instant> {
        self.queue.opened().filter(|_| self.has_seal_credit()).map(|opened| later(opened, self.linger()))
    }

    /// A body is made.
    pub(crate) fn sealed(&mut self, key: u64, batch: Batch) {
        let Some(mut held) = self.remove(key) else { return };
        held.sealing = false;
        self.counters.batches_sealed += 1;
        self.counters.body_bytes_sealed += batch.body.len() as u64;
        let made = batch.seqs.first;
        if let Content::Lines(segment) = std::mem::replace(&mut held.content, Content::Body(batch)) {
            held.line_ends = Some(segment.line_ends());
        }
        // Whoever takes it in hand, and the spool, knows it by the first number that is in its body.
        self.insert(made, held);
    }

    /// Making a body did not come to its end: it is tried again, and after the second panic the batch is set aside.
    pub(crate) fn seal_failed(&mut self, key: u64, words: &str, now: Instant, wall_ms: i64) {
        let Some(held) = self.window.get_mut(&key) else { return };
        held.sealing = false;
        held.panics += 1;
        if held.panics < PANICS_MAX {
            return;
        }
        let Some(held) = self.remove(key) else { return };
        // What made it panic may be the compression: it is set aside as plain lines.
        let made = held.batch().cloned();
        let batch = made.or_else(|| job(key, &held, Compression::None, wall_ms).run().ok());
        let fate = self.set_aside_fate(QuarantineReason::Panicked);
        self.note_fate(held.seqs, held.tally(), fate);
        let quarantine =
            batch.map(|batch| Quarantined { batch, status: None, words: Some(words.to_owned()) });
        self.record_direct(held.met(fate, quarantine), || now);
        self.tell_quarantined(held.seqs, QuarantineReason::Panicked, None, words);
        self.pass_marks();
    }

    /// How long a segment may wait to be filled: never so long that its points cannot be stored within the window. While
    /// nothing can be sent, all of that time: fewer batches are fewer transactions now and fewer requests later.
    fn linger(&self) -> Duration {
        let Some(window) = self.terms.loss_window else { return self.terms.linger };
        let storable = (window / 2).max(LINGER_DURABLE);
        if self.is_cut_off() { storable } else { self.terms.linger.min(storable) }
    }

    pub(super) fn has_seal_credit(&self) -> bool {
        self.window.values().filter(|held| held.is_volatile()).count() < SEALED_MAX
    }

    /// A batch of the window that has to be made, or made anew: its maker died, or some of its points were shed.
    fn remake(&mut self, wall_ms: i64) -> Option<SealJob> {
        let compression = self.terms.compression;
        let (&key, held) = self.window.iter_mut().find(|(_, held)| held.is_to_be_made())?;
        held.sealing = true;
        Some(job(key, held, compression, wall_ms))
    }

    /// The oldest segment of the queue, if it is full, old or asked for.
    fn drain(&mut self, now: Instant, wall_ms: i64) -> Option<SealJob> {
        let first = self.queue.first()?;
        let due = self.queue.has_full_segment(self.terms.segment)
            || first <= self.seal_mark
            || self.queue.opened().is_some_and(|opened| now >= later(opened, self.linger()));
        if !due || !self.has_seal_credit() {
            return None;
        }
        let segment = self.queue.take_segment()?;
        let held = held_from(segment);
        let age = now.saturating_duration_since(held.oldest.unwrap_or(now));
        let created_ms = wall_ms - i64::try_from(age.as_millis()).unwrap_or(0);
        let job = job(first, &held, self.terms.compression, created_ms);
        self.insert(first, held);
        Some(job)
    }
}

fn held_from(segment: Segment) -> Held {
    Held {
        seqs: segment.seqs(),
        raw_len: segment.tally().bytes,
        oldest: Some(segment.opened()),
        content: Content::Lines(Arc::new(segment)),
        line_ends: None,
        sealing: true,
        wanted: false,
        row: None,
        stored_in: 0,
        written_off: false,
        saving: false,
        leased: None,
        attempts: 0,
        panics: 0,
        fault: None,
        division: None,
    }
}

fn job(key: u64, held: &Held, compression: Compression, created_ms: i64) -> SealJob {
    SealJob { key, content: held.content.clone(), seqs: held.seqs, compression, created_ms }
}
