//! The spool's promises, each by name, through the same calls the store makes.

mod crowd;
mod damage;
mod disk;
mod full;
mod life;
mod look;
mod model;
mod parts;
mod place;
mod plans;
mod replays;
mod rescue;
mod versions;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use tempfile::TempDir;

use super::*;
use crate::machines::plan::*;
use crate::values::batch::{Batch, Codec, Destination, TimeSpan};
use crate::values::config::{SpoolFull, SyncMode};
use crate::values::fate::Fate;
use crate::values::ledger::Backlog;
use crate::values::seq::SeqRange;

/// A moment at which tests take place; batches are an hour old then.
pub(super) fn now() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

pub(super) fn now_ms() -> i64 {
    super::clock::unix_ms(now())
}

pub(super) fn batch(first: u64, points: u64, body: &[u8]) -> Batch {
    Batch {
        seqs: SeqRange::starting_at(first, points),
        destination: Arc::new(Destination {
            retention_policy: Some("week".into()),
            ..Destination::new("plant")
        }),
        codec: Codec::Identity,
        raw_len: body.len() as u64,
        span: TimeSpan { earliest: first as i64, latest: (first + points) as i64 },
        created_ms: now_ms() - 3_600_000,
        body: Bytes::copy_from_slice(body),
    }
}

/// A body that does not compress and differs from every other.
pub(super) fn noise(seed: u64, bytes: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(bytes).collect()
}

pub(super) fn done(read: &ReadBatch, fate: Fate) -> SettleRow {
    SettleRow { row: read.row, first_seq: read.first_seq, fate, status: None, words: None, parts: Vec::new() }
}

/// A spool in a folder of its own.
pub(super) struct Bench {
    _folder: TempDir,
    pub(super) options: SpoolOptions,
}

impl Bench {
    pub(super) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut options = SpoolOptions::new(folder.path().join("plant.db"));
        options.free_reserve_bytes = 0;
        Self { _folder: folder, options }
    }

    pub(super) fn path(&self) -> &Path {
        &self.options.path
    }

    pub(super) fn beside(&self, suffix: &str) -> PathBuf {
        PathBuf::from(format!("{}{suffix}", self.path().display()))
    }

    pub(super) fn open(&self) -> (Life, Opened) {
        let (spool, opened) = Spool::open(&self.options, now()).unwrap();
        let next = opened.seq_next;
        (Life { number: opened.commit_number, next, spool }, opened)
    }
}

/// An open spool, with the bookkeeping its owner does.
pub(super) struct Life {
    pub(super) spool: Spool,
    pub(super) number: u64,
    pub(super) next: u64,
}

impl Life {
    pub(super) fn commit(&mut self, mut plan: CommitPlan) -> Committed {
        plan.number = self.number + 1;
        let committed = self.spool.commit(&plan, now()).unwrap();
        self.number += 1;
        let ledger = &committed.ledger;
        assert_eq!(
            ledger.accepted().points,
            ledger.settled_points() + committed.backlog.points,
            "{committed:?}"
        );
        assert_eq!(super::room::measured_backlog(&self.spool.conn).unwrap(), committed.backlog);
        committed
    }

    pub(super) fn append(&mut self, bodies: &[&[u8]]) -> Committed {
        let appends = bodies.iter().map(|body| self.next_batch(body)).collect();
        self.commit(CommitPlan { appends, ..CommitPlan::default() })
    }

    pub(super) fn settle(&mut self, rows: &[ReadBatch], fate: Fate) -> Committed {
        let settle = rows.iter().map(|row| done(row, fate)).collect();
        self.commit(CommitPlan { settle, ..CommitPlan::default() })
    }

    /// The next batch: ten points with this body.
    pub(super) fn next_batch(&mut self, body: &[u8]) -> Batch {
        let batch = batch(self.next, 10, body);
        self.next += 10;
        batch
    }

    pub(super) fn all(&mut self) -> Vec<ReadBatch> {
        self.spool.read_after(None, usize::MAX, u64::MAX).unwrap()
    }

    pub(super) fn bodies(&mut self) -> Vec<Bytes> {
        self.all().into_iter().map(|read| read.batch.unwrap().body).collect()
    }

    pub(super) fn close(self) {
        let next = self.next;
        self.spool.close(next, None).unwrap();
    }
}
