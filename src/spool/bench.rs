//! What `benches/spool.rs` drives: the calls the store makes, from outside the crate.

use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use bytes::Bytes;

use super::{Spool, SpoolError, SpoolOptions};
use crate::machines::plan::{CommitPlan, RowId, SettleRow};
use crate::values::batch::{Batch, Codec, Destination, TimeSpan};
use crate::values::config::SyncMode;
use crate::values::fate::Fate;
use crate::values::seq::SeqRange;

/// An open spool that commits batches of one body, and settles them in the order they came.
#[doc(hidden)]
#[derive(Debug)]
pub struct SpoolBench {
    spool: Spool,
    destination: Arc<Destination>,
    body: Bytes,
    points: u64,
    number: u64,
    next: u64,
    stored: std::collections::VecDeque<(RowId, u64)>,
}

impl SpoolBench {
    /// A fresh spool in `folder`, for batches of `points` points with this body.
    ///
    /// # Errors
    /// The spool cannot be opened.
    pub fn open(folder: &Path, sync: SyncMode, points: u64, body: Vec<u8>) -> Result<Self, SpoolError> {
        let options = SpoolOptions { sync, ..SpoolOptions::new(folder.join("bench.db")) };
        let (spool, opened) = Spool::open(&options, SystemTime::now())?;
        let destination = Destination::new("bench");
        Ok(Self {
            spool,
            destination: Arc::new(destination),
            body: body.into(),
            points,
            number: opened.commit_number,
            next: opened.seq_next,
            stored: std::collections::VecDeque::new(),
        })
    }

    /// Puts one batch of these lines into a fresh spool file, as they are: as a version with other rules might have left
    /// it.
    ///
    /// # Errors
    /// The spool cannot be opened or written.
    pub fn plant(file: &Path, destination: Destination, lines: &[String]) -> Result<(), SpoolError> {
        let (mut spool, opened) = Spool::open(&SpoolOptions::new(file), SystemTime::now())?;
        let body: Bytes = lines.concat().into();
        let batch = Batch {
            seqs: SeqRange::starting_at(opened.seq_next, lines.len() as u64),
            destination: Arc::new(destination),
            codec: Codec::Identity,
            raw_len: body.len() as u64,
            span: TimeSpan::at(0),
            created_ms: 0,
            body,
        };
        let next = batch.seqs.last + 1;
        let plan =
            CommitPlan { number: opened.commit_number + 1, appends: vec![batch], ..CommitPlan::default() };
        spool.commit(&plan, SystemTime::now())?;
        spool.close(next, opened.stamp_last)
    }

    /// One commit: appends so many batches and settles the oldest ones beyond `keep`, then tidies up.
    ///
    /// # Errors
    /// The commit failed.
    pub fn commit(&mut self, appends: usize, keep: usize) -> Result<(), SpoolError> {
        let appends: Vec<Batch> = (0..appends).map(|_| self.batch()).collect();
        let firsts: Vec<u64> = appends.iter().map(|batch| batch.seqs.first).collect();
        let settle = self.stored.drain(..self.stored.len().saturating_sub(keep)).map(|(row, first_seq)| {
            SettleRow { row, first_seq, fate: Fate::Delivered, status: None, words: None, parts: Vec::new() }
        });
        self.number += 1;
        let plan =
            CommitPlan { number: self.number, appends, settle: settle.collect(), ..CommitPlan::default() };
        let now = SystemTime::now();
        let committed = self.spool.commit(&plan, now)?;
        self.stored.extend(committed.appended.into_iter().zip(firsts));
        self.spool.maintain(now)?;
        Ok(())
    }

    fn batch(&mut self) -> Batch {
        let seqs = SeqRange::starting_at(self.next, self.points);
        self.next += self.points;
        Batch {
            seqs,
            destination: Arc::clone(&self.destination),
            codec: Codec::Gzip,
            raw_len: self.body.len() as u64 * 5,
            span: TimeSpan::at(0),
            created_ms: 0,
            body: self.body.clone(),
        }
    }
}
