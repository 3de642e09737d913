//! What the tests share: terms, lines that say their own number, and a spool of plain maps.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use crate::machines::codec;
use crate::machines::plan::{
    CommitPlan, Committed, DamagedRow, Evicted, ReadBatch, Replayed, RowId, SettleRow, Withheld,
};
use crate::machines::queue::SegmentLimits;
use crate::machines::transit::{Found, Opened, ReadRequest, Terms};
use crate::machines::verdict::{Blame, Cause, Refusal, Trouble, Verdict};
use crate::values::batch::{Batch, Destination};
use crate::values::config::{Compression, WhenFull};
use crate::values::fate::{Durability, Fate, ShedReason};
use crate::values::ledger::{Backlog, Ledger, Tally};
use crate::values::seq::SeqRange;
use crate::values::trouble::TroubleKind;

pub(super) static HERE: LazyLock<Arc<Destination>> = LazyLock::new(|| Arc::new(Destination::new("plant")));

pub(super) fn terms() -> Terms {
    Terms {
        points_max: 40,
        bytes_max: 1 << 20,
        when_full: WhenFull::DropOldest,
        segment: SegmentLimits { points_max: 5, bytes_max: 1 << 16 },
        linger: Duration::from_millis(200),
        compression: Compression::None,
        loss_window: Some(Duration::from_secs(1)),
        spool_bytes_max: 1 << 30,
        ledger_interval: Duration::from_secs(10),
        durability: Durability::Power,
        backoff_min: Duration::from_millis(100),
        backoff_max: Duration::from_secs(60),
        udp: None,
    }
}

/// The line of the point that gets this number. All are equally long.
/// Lines differ in length; five of them have as many bytes as any others.
pub(super) fn line_of(number: u64) -> String {
    format!("m{} n={number:06}i\n", "m".repeat(number as usize % 5))
}

pub(super) fn lines_of(seqs: SeqRange) -> String {
    (seqs.first..=seqs.last).map(line_of).collect()
}

pub(super) fn check_body(batch: &Batch) {
    let plain = codec::decode_body(batch.codec, batch.raw_len, &batch.body).unwrap();
    assert_eq!(plain, lines_of(batch.seqs).as_bytes(), "the body of {:?}", batch.seqs);
}

pub(super) fn trouble() -> Verdict {
    Verdict::Hold(Trouble {
        kind: TroubleKind::Unreachable,
        status: None,
        words: "refused".into(),
        retry_after: None,
        may_be_data: false,
    })
}

pub(super) fn refusal() -> Verdict {
    Verdict::Refused(Refusal {
        status: 400,
        words: "unable to parse".into(),
        cause: Cause::Other,
        blame: Blame::Some,
    })
}

/// The server says that there is something bad in what it was sent, and not what.
pub(super) fn complaint(cause: Cause) -> Refusal {
    Refusal { status: 400, words: "bad".into(), cause, blame: Blame::Some }
}

/// The server fails in a way that may be the data's doing.
pub(super) fn fault() -> Trouble {
    Trouble {
        kind: TroubleKind::Unreachable,
        status: None,
        words: "connection reset".into(),
        retry_after: None,
        may_be_data: true,
    }
}

/// What happens when the spool has no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    DropOldest,
    Refuse,
}

#[derive(Clone, Debug)]
struct Row {
    id: RowId,
    batch: Batch,
    damaged: bool,
    attempts: u32,
    panics: u32,
}

/// A spool that keeps its promises in memory.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    rows: BTreeMap<u64, Row>,
    pub(super) fates: BTreeMap<u64, Fate>,
    quarantine: BTreeMap<u64, Batch>,
    /// Points that were taken back from quarantine, and the fate that they had met.
    pub(super) replayed: Vec<(u64, Fate)>,
    ledger: Ledger,
    commit_number: u64,
    next_id: i64,
    pub(super) rows_max: usize,
    pub(super) full: Full,
    /// The end of the numbers that a life may give.
    pub(super) seq_next: u64,
}

impl Disk {
    pub(super) fn new(rows_max: usize, full: Full) -> Self {
        Self {
            rows: BTreeMap::new(),
            fates: BTreeMap::new(),
            quarantine: BTreeMap::new(),
            replayed: Vec::new(),
            ledger: Ledger::default(),
            commit_number: 0,
            next_id: 1,
            rows_max,
            full,
            seq_next: 1,
        }
    }

    pub(super) fn opened(&self) -> Opened {
        Opened {
            seq_next: self.seq_next,
            commit_number: self.commit_number,
            backlog: self.backlog(),
            ledger: self.ledger.clone(),
            refused: 0,
            salvaged: false,
        }
    }

    /// The numbers of the stored points.
    pub(super) fn stored(&self) -> impl Iterator<Item = u64> + '_ {
        self.rows.values().flat_map(|row| row.batch.seqs.first..=row.batch.seqs.last)
    }

    pub(super) fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    pub(super) fn backlog(&self) -> Backlog {
        let mut backlog = Backlog::default();
        for row in self.rows.values() {
            backlog.add(Tally::new(row.batch.points(), row.batch.raw_len));
        }
        backlog
    }

    /// Spoils a stored row, and says which points are lost with it. One at most at a time.
    pub(super) fn damage(&mut self, nth: usize) -> Option<SeqRange> {
        let nth = nth.checked_rem(self.rows.len())?;
        let row = self.rows.values_mut().nth(nth).filter(|row| !row.damaged)?;
        row.damaged = true;
        Some(row.batch.seqs)
    }

    pub(super) fn find(&self, first: u64) -> Found {
        let row = self.rows.get(&first).map(|row| Found::Row(row.id));
        row.or_else(|| self.fates.get(&first).copied().map(Found::Settled)).unwrap_or(Found::Nothing)
    }

    pub(super) fn read(&self, request: ReadRequest) -> Vec<ReadBatch> {
        let read = |(&first_seq, row): (&u64, &Row)| ReadBatch {
            row: row.id,
            first_seq,
            attempts: row.attempts,
            panics: row.panics,
            batch: match row.damaged {
                false => Ok(row.batch.clone()),
                true => Err(DamagedRow { seqs: Some(row.batch.seqs) }),
            },
        };
        self.rows.range(request.after + 1..).take(request.rows_max).map(read).collect()
    }

    pub(super) fn commit(&mut self, plan: &CommitPlan) -> Committed {
        assert_eq!(plan.number, self.commit_number + 1, "one after the other");
        self.commit_number = plan.number;
        let settled = plan.settle.iter().map(|row| self.settle(row)).collect();
        for direct in &plan.direct {
            let tally = Tally::new(direct.seqs.points(), direct.bytes);
            self.ledger.accept(tally);
            self.give(direct.seqs, tally, direct.fate);
            if let Some(quarantined) = &direct.quarantine {
                assert_eq!(quarantined.batch.seqs, direct.seqs, "what is kept is what is counted");
                self.quarantine.insert(direct.seqs.first, quarantined.batch.clone());
            }
        }
        for note in &plan.attempts {
            if let Some(row) = self.rows.get_mut(&note.first_seq).filter(|row| row.id == note.row) {
                (row.attempts, row.panics) = (note.attempts, note.panics);
            }
        }
        let mut evicted = Vec::new();
        let mut appended = Vec::new();
        let mut withheld = None;
        // Nothing that this very plan brings has to go for the rest of it.
        let oldest_new = plan.appends.first().map_or(u64::MAX, |batch| batch.seqs.first);
        for batch in &plan.appends {
            check_body(batch);
            if !self.make_room(plan, oldest_new, &mut evicted) {
                withheld = Some(Withheld::SpoolFull);
                break;
            }
            appended.push(self.insert(batch));
        }
        let replayed = plan.replay.map(|replay| self.take_back(replay.below_seq, withheld));
        Committed {
            appended,
            withheld,
            settled,
            evicted,
            quarantine_evicted: Vec::new(),
            replayed,
            backlog: self.backlog(),
            ledger: self.ledger.clone(),
            records_are_dear: false,
        }
    }

    /// Takes the two oldest batches back from quarantine, if there is room.
    fn take_back(&mut self, below: u64, withheld: Option<Withheld>) -> Replayed {
        let mut replayed = Replayed::default();
        for _ in 0..2 {
            let oldest = self.quarantine.first_key_value().filter(|(_, batch)| batch.seqs.last < below);
            let Some((&first, batch)) = oldest else { break };
            if withheld.is_some() || self.rows.len() >= self.rows_max {
                replayed.withheld = Some(Withheld::SpoolFull);
                break;
            }
            let batch = batch.clone();
            self.quarantine.remove(&first);
            let tally = Tally::new(batch.points(), batch.raw_len);
            let fate = self.fates[&first];
            self.ledger.unsettle(fate, tally);
            for number in batch.seqs.first..=batch.seqs.last {
                assert_eq!(self.fates.remove(&number), Some(fate));
                self.replayed.push((number, fate));
            }
            let id = RowId(self.next_id);
            self.next_id += 1;
            replayed.first_seq = if replayed.seqs.is_empty() { first } else { replayed.first_seq.min(first) };
            replayed.seqs.push(batch.seqs);
            replayed.backlog.add(tally);
            let row = Row { id, batch, damaged: false, attempts: 0, panics: 0 };
            assert!(self.rows.insert(first, row).is_none(), "{first} is stored once");
        }
        replayed.more = self.quarantine.values().next().is_some_and(|batch| batch.seqs.last < below);
        replayed
    }

    fn insert(&mut self, batch: &Batch) -> RowId {
        let newest = self.rows.last_key_value().map(|(_, row)| row.batch.seqs.last);
        assert!(newest.is_none_or(|last| last < batch.seqs.first), "rows are stored in order");
        let id = RowId(self.next_id);
        self.next_id += 1;
        let row = Row { id, batch: batch.clone(), damaged: false, attempts: 0, panics: 0 };
        assert!(self.rows.insert(batch.seqs.first, row).is_none(), "{:?} is stored once", batch.seqs);
        self.ledger.accept(Tally::new(batch.points(), batch.raw_len));
        id
    }

    fn settle(&mut self, settle: &SettleRow) -> bool {
        if self.rows.get(&settle.first_seq).is_none_or(|row| row.id != settle.row) {
            return false;
        }
        let row = self.rows.remove(&settle.first_seq).unwrap();
        if !settle.parts.is_empty() {
            let mut next = row.batch.seqs.first;
            for part in &settle.parts {
                assert_eq!(part.seqs.first, next, "parts follow each other");
                next = part.seqs.last + 1;
                self.give(part.seqs, Tally::new(part.seqs.points(), part.bytes), part.fate);
                let kept = part.quarantine.as_ref().map(|kept| kept.batch.seqs);
                assert_eq!(kept, matches!(part.fate, Fate::Quarantined(_)).then_some(part.seqs));
                if let Some(kept) = &part.quarantine {
                    check_body(&kept.batch);
                    self.quarantine.insert(kept.batch.seqs.first, kept.batch.clone());
                }
            }
            assert_eq!(next, row.batch.seqs.last + 1, "parts are the whole");
            let bytes: u64 = settle.parts.iter().map(|part| part.bytes).sum();
            assert_eq!(bytes, row.batch.raw_len);
            return true;
        }
        self.give(row.batch.seqs, Tally::new(row.batch.points(), row.batch.raw_len), settle.fate);
        if matches!(settle.fate, Fate::Quarantined(_)) {
            self.quarantine.insert(row.batch.seqs.first, row.batch);
        }
        true
    }

    fn make_room(&mut self, plan: &CommitPlan, oldest_new: u64, evicted: &mut Vec<Evicted>) -> bool {
        while self.rows.len() >= self.rows_max {
            if self.full == Full::Refuse {
                return false;
            }
            let goner = self.rows.keys().find(|first| !plan.leased.contains(first) && **first < oldest_new);
            let Some(row) = goner.copied().and_then(|first| self.rows.remove(&first)) else { return false };
            let (seqs, tally) = (row.batch.seqs, Tally::new(row.batch.points(), row.batch.raw_len));
            let fate = Fate::Shed(ShedReason::SpoolFull);
            self.give(seqs, tally, fate);
            evicted.push(Evicted { row: row.id, seqs, tally, fate });
        }
        true
    }

    fn give(&mut self, seqs: SeqRange, tally: Tally, fate: Fate) {
        self.ledger.settle(fate, tally);
        for number in seqs.first..=seqs.last {
            assert_eq!(self.fates.insert(number, fate), None, "{number} has one fate on disk");
        }
    }
}
