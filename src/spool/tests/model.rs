//! Random plans and crashes, against a plain account of every point.

use std::collections::{BTreeMap, VecDeque};

use super::*;
use crate::values::fate::{Durability, QuarantineReason, Standing};
use crate::values::ledger::Tally;

const REASONS: [QuarantineReason; 3] =
    [QuarantineReason::Malformed, QuarantineReason::TypeConflict, QuarantineReason::Unresolved];

#[test]
fn every_point_is_where_a_plain_account_says_after_any_plans_and_crashes() {
    let worlds = if std::env::var_os("RUN_SLOW_TESTS").is_some() { 200 } else { 5 };
    for seed in 0..worlds {
        World::new(seed).run(40);
    }
}

/// What a batch holds: a line for each number, that number.
fn body(seqs: SeqRange) -> Vec<u8> {
    (seqs.first..=seqs.last).flat_map(|number| format!("{number}\n").into_bytes()).collect()
}

fn batch_of(seqs: SeqRange) -> Batch {
    batch(seqs.first, seqs.points(), &body(seqs))
}

struct World {
    bench: Bench,
    life: Option<Life>,
    random: fastrand::Rng,
    /// Where each number is: `None` while it is pending.
    points: BTreeMap<u64, Option<Fate>>,
    backlog: BTreeMap<u64, SeqRange>,
    /// The longest kept first.
    quarantine: VecDeque<(SeqRange, QuarantineReason)>,
}

impl World {
    fn new(seed: u64) -> Self {
        let mut bench = Bench::new();
        bench.options.sync = SyncMode::Normal;
        let mut random = fastrand::Rng::with_seed(seed);
        if random.bool() {
            bench.options.quarantine_bytes_max = 6_000;
        }
        let life = Some(bench.open().0);
        let points = BTreeMap::new();
        Self { bench, life, random, points, backlog: BTreeMap::new(), quarantine: VecDeque::new() }
    }

    fn run(mut self, rounds: usize) {
        for _ in 0..rounds {
            self.commit();
            if self.random.u8(..8) == 0 {
                self.reopen();
            }
            self.check();
        }
    }

    fn life(&mut self) -> &mut Life {
        self.life.as_mut().unwrap()
    }

    fn commit(&mut self) {
        let mut plan = CommitPlan::default();
        for row in self.life().all() {
            if self.random.bool() {
                plan.settle.push(self.settle(&row));
            }
        }
        for _ in 0..self.random.usize(..3) {
            let seqs = self.numbers();
            let direct = self.part(seqs);
            self.meet(&direct);
            plan.direct.push(direct);
        }
        for _ in 0..self.random.usize(..4) {
            let seqs = self.numbers();
            self.points.extend((seqs.first..=seqs.last).map(|number| (number, None)));
            self.backlog.insert(seqs.first, seqs);
            plan.appends.push(batch_of(seqs));
        }
        if self.random.u8(..3) == 0 {
            let only = self.random.bool().then(|| self.reason());
            plan.replay =
                Some(Replay { only, batches_max: self.random.usize(..6), up_to: None, below_seq: u64::MAX });
        }
        let replay = plan.replay;
        let committed = self.life().commit(plan);
        assert!(committed.settled.iter().all(|settled| *settled));
        assert_eq!((committed.evicted, committed.withheld), (vec![], None));
        // Which rows there are in the file is the file's own affair.
        let replayed = committed.replayed.map(|replayed| Replayed { up_to: None, ..replayed });
        assert_eq!(replayed, replay.map(|replay| self.replay(replay)));
        for gone in committed.quarantine_evicted {
            assert_eq!(self.quarantine.pop_front().unwrap().0, gone.seqs, "the longest kept goes first");
            self.points
                .extend((gone.seqs.first..=gone.seqs.last).map(|number| (number, Some(Fate::Rejected))));
        }
    }

    /// The next numbers.
    fn numbers(&mut self) -> SeqRange {
        let points = self.random.u64(1..=12);
        let life = self.life();
        let seqs = SeqRange::starting_at(life.next, points);
        life.next = seqs.last + 1;
        seqs
    }

    fn reason(&mut self) -> QuarantineReason {
        REASONS[self.random.usize(..REASONS.len())]
    }

    fn part(&mut self, seqs: SeqRange) -> DirectFate {
        let bytes = body(seqs).len() as u64;
        let fate = match self.random.u8(..4) {
            0 => Fate::Expired,
            1 | 2 => Fate::Delivered,
            _ => Fate::Quarantined(self.reason()),
        };
        let keeps = matches!(fate, Fate::Quarantined(_));
        let quarantine = keeps.then(|| Quarantined { batch: batch_of(seqs), status: None, words: None });
        DirectFate { seqs, bytes, fate, quarantine, written_off: false }
    }

    fn meet(&mut self, met: &DirectFate) {
        self.points.extend((met.seqs.first..=met.seqs.last).map(|number| (number, Some(met.fate))));
        if let Fate::Quarantined(reason) = met.fate {
            self.quarantine.push_back((met.seqs, reason));
        }
    }

    /// The end of a row: as a whole, in parts, or in parts that are wrong.
    fn settle(&mut self, row: &ReadBatch) -> SettleRow {
        let seqs = self.backlog.remove(&row.first_seq).unwrap();
        let whole = self.part(seqs);
        if self.random.bool() {
            self.meet(&whole);
            return done(row, whole.fate);
        }
        let mut parts = Vec::new();
        let mut next = seqs.first;
        while next <= seqs.last {
            let last = self.random.u64(next..=seqs.last);
            parts.push(self.part(SeqRange { first: next, last }));
            next = last + 1;
        }
        if self.random.u8(..4) == 0 {
            parts.push(parts[self.random.usize(..parts.len())].clone());
            self.meet(&DirectFate { fate: Fate::Quarantined(QuarantineReason::Unresolved), ..whole });
            return SettleRow { parts, ..done(row, Fate::Delivered) };
        }
        for part in &parts {
            self.meet(part);
        }
        // They are kept in the order of their numbers, whatever the order they are given in.
        self.random.shuffle(&mut parts);
        SettleRow { parts, ..done(row, Fate::Delivered) }
    }

    fn replay(&mut self, replay: Replay) -> Replayed {
        let mut replayed = Replayed::default();
        let (mut stay, mut taken) = (VecDeque::new(), Vec::new());
        for (seqs, reason) in self.quarantine.drain(..) {
            let is_wanted = replay.only.is_none_or(|only| only == reason);
            if is_wanted && taken.len() < replay.batches_max {
                taken.push(seqs);
            } else {
                replayed.more |= is_wanted;
                stay.push_back((seqs, reason));
            }
        }
        self.quarantine = stay;
        for seqs in &taken {
            self.points.extend((seqs.first..=seqs.last).map(|number| (number, None)));
            self.backlog.insert(seqs.first, *seqs);
            replayed.backlog.add(Tally::new(seqs.points(), body(*seqs).len() as u64));
        }
        replayed.first_seq = taken.iter().map(|seqs| seqs.first).min().unwrap_or(0);
        Replayed { seqs: taken, ..replayed }
    }

    fn reopen(&mut self) {
        let life = self.life.take().unwrap();
        if self.random.bool() {
            life.close();
        } else {
            drop(life);
        }
        self.life = Some(self.bench.open().0);
    }

    fn check(&mut self) {
        let seen = inspect(self.bench.path()).unwrap();
        assert!(seen.adds_up);
        for fate in Fate::ALL {
            let numbers = self.points.iter().filter(|(_, met)| **met == Some(fate));
            let bytes = numbers.clone().map(|(number, _)| number.to_string().len() as u64 + 1).sum();
            assert_eq!(seen.ledger.of(fate), Tally::new(numbers.count() as u64, bytes), "{fate:?}");
        }
        let kept: Vec<_> = seen.quarantined.iter().map(|kept| (kept.seqs, kept.reason.unwrap())).collect();
        assert_eq!(kept, self.quarantine.iter().copied().collect::<Vec<_>>());
        let stored = self.life().all().into_iter().map(|row| row.batch.unwrap());
        let stored: Vec<_> = stored.map(|batch| (batch.seqs, batch.body.to_vec())).collect();
        let expected: Vec<_> = self.backlog.values().map(|seqs| (*seqs, body(*seqs))).collect();
        assert_eq!(stored, expected);
        let points = std::mem::take(&mut self.points);
        for (number, met) in &points {
            let expected = met.map_or(Standing::Durable(Durability::Process), Standing::Settled);
            assert_eq!(self.life().spool.standing(*number).unwrap(), Some(expected), "{number}");
        }
        self.points = points;
    }
}
