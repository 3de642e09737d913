//! A transit with everyone who works on it, played by hand, and beside it what is known of every single point.

mod checks;

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use tokio::sync::oneshot::Receiver;

use super::rig::{Disk, HERE, check_body, line_of};
use crate::machines::division::{Complaint, Lines};
use crate::machines::plan::{CommitPlan, Replayed};
use crate::machines::queue::EncodedLine;
use crate::machines::transit::held::Held;
use crate::machines::transit::{
    Answered, Holder, Lease, Load, PushRefusal, ReadRequest, SealJob, Terms, Transit,
};
use crate::machines::verdict::{Blame, Cause, Refusal, Trouble, Verdict};
use crate::machines::waiters::Until;
use crate::values::config::WhenFull;
use crate::values::fate::{Fate, QuarantineReason, ShedReason, Standing};
use crate::values::ledger::{Ledger, Tally};

pub(super) const QUEUE_FULL: Fate = Fate::Shed(ShedReason::QueueFull);

/// What becomes of a transaction and its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// It happened, and the worker died before it could say so.
    AnswerLost,
    /// The worker died before.
    Never,
}

pub(super) struct World {
    pub(super) transit: Transit,
    pub(super) disk: Disk,
    pub(super) terms: Terms,
    pub(super) now: Instant,
    /// Points without a fate.
    pub(super) pending: BTreeSet<u64>,
    /// The fates of this life.
    pub(super) fates: BTreeMap<u64, Fate>,
    /// Points of rows that were read and found damaged, and are still counted as pending.
    damaged: BTreeSet<u64>,
    /// Points that were dropped from the file while they were being delivered.
    disputed: BTreeSet<u64>,
    base: Ledger,
    pub(super) jobs: Vec<SealJob>,
    pub(super) trip: Option<(CommitPlan, Option<ReadRequest>)>,
    pub(super) leases: BTreeMap<usize, Load>,
    /// What the server does not take.
    pub(super) bad: fn(u64) -> bool,
    /// Requests that were answered.
    pub(super) requests: u64,
    receipts: Vec<(u64, Until, Receiver<Standing>)>,
    flushes: Vec<(u64, Receiver<()>)>,
    commits: Vec<(u64, Receiver<()>)>,
    replays: Vec<Receiver<Replayed>>,
}

impl World {
    pub(super) fn new(terms: Terms, disk: Disk) -> Self {
        Self {
            transit: Transit::new(terms, &disk.opened()),
            pending: disk.stored().collect(),
            base: disk.ledger().clone(),
            disk,
            terms,
            now: Instant::now(),
            fates: BTreeMap::new(),
            damaged: BTreeSet::new(),
            disputed: BTreeSet::new(),
            jobs: Vec::new(),
            trip: None,
            leases: BTreeMap::new(),
            bad: |_| false,
            requests: 0,
            receipts: Vec::new(),
            flushes: Vec::new(),
            commits: Vec::new(),
            replays: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, points: u64) {
        for _ in 0..points {
            self.push_one();
        }
    }

    fn push_one(&mut self) {
        let number = self.transit.next_seq();
        let sheddable = self.sheddable();
        let shed_before = self.transit.books.total().of(QUEUE_FULL).points;
        let line = line_of(number);
        let now = self.now;
        let pushed = self.transit.push(EncodedLine { bytes: line.as_bytes(), timestamp: 1 }, &HERE, || now);
        let shed = self.transit.books.total().of(QUEUE_FULL).points - shed_before;
        match pushed {
            Ok(pushed) => {
                assert_eq!(pushed.number, number);
                self.pending.insert(number);
                let goners = sheddable.into_iter().chain([number]).take(shed as usize);
                let goners = match self.terms.when_full {
                    WhenFull::DropNewest => (shed > 0).then_some(number).into_iter().collect(),
                    _ => goners.collect::<Vec<_>>(),
                };
                assert_eq!(goners.len() as u64, shed);
                for goner in goners {
                    self.settle(goner, QUEUE_FULL);
                }
                if self.pending.contains(&number) {
                    assert!(self.in_memory() <= self.terms.points_max, "the bound is kept");
                }
            }
            Err(PushRefusal::Full) => {
                assert_eq!(self.terms.when_full, WhenFull::Refuse);
                assert!(self.in_memory() >= self.terms.points_max);
            }
            Err(other) => assert!(self.transit.is_stopped(), "{other:?}"),
        }
    }

    /// Pushes so many at once, as those who meet at the lock do; one by one where one might be refused.
    pub(super) fn push_staged(&mut self, points: u64) {
        let new = self.transit.next_seq()..self.transit.next_seq() + points;
        let lines: Vec<String> = new.clone().map(line_of).collect();
        let size = Tally::new(points, lines.iter().map(|line| line.len() as u64).sum());
        if !self.transit.takes_unseen(size.points, size.bytes) {
            return self.push(points);
        }
        let sheddable = self.sheddable();
        let shed_before = self.transit.books.total().of(QUEUE_FULL).points;
        let lines = lines.iter().map(|line| EncodedLine { bytes: line.as_bytes(), timestamp: 1 });
        self.transit.push_staged(lines, size, &HERE, self.now);
        let shed = (self.transit.books.total().of(QUEUE_FULL).points - shed_before) as usize;
        assert_eq!(self.transit.next_seq(), new.end);
        self.pending.extend(new.clone());
        let goners: Vec<u64> = match self.terms.when_full {
            WhenFull::DropNewest => new.rev().take(shed).collect(),
            _ => sheddable.into_iter().chain(new).take(shed).collect(),
        };
        assert_eq!(goners.len(), shed);
        for goner in goners {
            self.settle(goner, QUEUE_FULL);
        }
    }

    /// The points that may be shed, the first to go first.
    fn sheddable(&self) -> Vec<u64> {
        let free = self.transit.window.values().filter(|held| held.is_free());
        let windowed = free.flat_map(|held| held.seqs.first..=held.seqs.last);
        let queue_first = self.transit.queue.first().unwrap_or(u64::MAX);
        windowed.chain(self.pending.range(queue_first..).copied()).collect()
    }

    fn in_memory(&self) -> u64 {
        self.transit.queue.held().points + self.transit.volatile.points
    }

    pub(super) fn take_jobs(&mut self, jobs_max: usize) -> usize {
        let jobs = self.transit.take_seal_jobs(jobs_max, self.now, 0);
        let taken = jobs.len();
        self.jobs.extend(jobs);
        taken
    }

    /// One of the workers comes back, with a body or having died.
    pub(super) fn finish_job(&mut self, nth: usize, well: bool) {
        let Some(nth) = nth.checked_rem(self.jobs.len()) else { return };
        let job = self.jobs.remove(nth);
        if well {
            let batch = job.run().unwrap();
            check_body(&batch);
            let key = job.key;
            self.transit.sealed(key, batch);
            return;
        }
        let seqs = self.transit.window.get(&job.key).map(|held| held.seqs);
        drop(job.content);
        self.transit.seal_failed(job.key, "panicked", self.now, 0);
        if let Some(seqs) = seqs.filter(|_| !self.transit.window.contains_key(&job.key)) {
            let fate = self.set_aside(QuarantineReason::Panicked);
            (seqs.first..=seqs.last).for_each(|number| self.settle(number, fate));
        }
    }

    pub(super) fn plan(&mut self, force: bool) -> bool {
        if self.trip.is_some() {
            return false;
        }
        let Some(plan) = self.transit.plan_commit(force, None, self.now) else { return false };
        let read = self.transit.wants_read();
        self.trip = Some((plan, read));
        true
    }

    pub(super) fn finish_trip(&mut self, end: End) {
        let Some((plan, read)) = self.trip.take() else { return };
        let before = self.disk.fates.len();
        let outcome = (end != End::Never).then(|| self.disk.commit(&plan));
        self.take_back_replayed();
        if self.disk.fates.len() != before {
            self.learn_fates_of_the_disk();
        }
        if let (End::Answered, Some(outcome)) = (end, outcome) {
            self.transit.committed(&outcome, self.now);
            if let Some(read) = read {
                self.read_rows(read);
            }
            return;
        }
        let (opened, disk, now) = (self.disk.opened(), &self.disk, self.now);
        let asked = self.transit.keys_to_find();
        let find = |key| {
            assert!(asked.contains(&key), "{key} was not looked up");
            disk.find(key)
        };
        self.transit.reopened(&opened, find, now);
    }

    /// Points that came back from quarantine are pending again. Those of an earlier life were not known here.
    fn take_back_replayed(&mut self) {
        for (number, fate) in std::mem::take(&mut self.disk.replayed) {
            if self.fates.remove(&number).is_none() {
                self.base.unsettle(fate, Tally::new(1, line_of(number).len() as u64));
            }
            assert!(self.pending.insert(number), "{number} came back once");
        }
    }

    /// Somebody asks for what is in quarantine.
    pub(super) fn replay(&mut self) {
        self.replays.push(self.transit.replay(None));
    }

    /// The file's word counts: of what it dropped, and of what was damaged.
    fn learn_fates_of_the_disk(&mut self) {
        let disk = std::mem::take(&mut self.disk.fates);
        for (&number, &fate) in &disk {
            if self.pending.contains(&number) {
                self.settle(number, fate);
                self.damaged.remove(&number);
            } else if self.fates.get(&number).is_some_and(|known| *known != fate) {
                self.fates.insert(number, fate);
                self.disputed.insert(number);
            }
        }
        self.disk.fates = disk;
    }

    pub(super) fn read(&mut self) -> bool {
        if self.trip.is_some() {
            return false;
        }
        let Some(request) = self.transit.wants_read() else { return false };
        self.read_rows(request);
        true
    }

    fn read_rows(&mut self, request: ReadRequest) {
        let rows = self.disk.read(request);
        for row in &rows {
            // What is in memory as well is not lost with it.
            let at_hand = self.transit.window.contains_key(&row.first_seq);
            if let Some(damaged) = row.batch.as_ref().err().filter(|_| !at_hand) {
                let seqs = damaged.seqs.unwrap();
                self.damaged.extend((seqs.first..=seqs.last).filter(|number| self.pending.contains(number)));
            }
        }
        self.transit.read_back(request, rows, self.now);
    }

    /// A sender asks for work. Says whether that moved anything.
    pub(super) fn lease(&mut self, holder: usize) -> bool {
        if self.leases.contains_key(&holder) {
            return false;
        }
        let load = match self.transit.lease(Holder::http(holder), self.now) {
            Lease::Load(load) => load,
            Lease::Oversized { key, batch } => {
                self.transit.divide(key, Some(Lines::of(&batch).unwrap()));
                return true;
            }
            // Now the batcher has something to do.
            Lease::Unmade => return true,
            Lease::NotBefore(_) | Lease::Nothing => return false,
        };
        check_body(&load.batch);
        let seqs = load.batch.seqs;
        let asks_for_witness =
            |held: &Held| held.division.as_ref().is_some_and(|division| division.wants_witness());
        let in_hand = |number: &&u64| {
            !self.damaged.contains(number)
                && !self.leases.values().any(|other| other.batch.seqs.contains(**number))
        };
        let oldest = self.pending.iter().find(in_hand).copied();
        let in_order = !self.transit.window.values().any(asks_for_witness);
        assert!(!in_order || oldest == Some(seqs.first), "the oldest goes first: {oldest:?} before {seqs:?}");
        assert!((seqs.first..=seqs.last).all(|number| self.pending.contains(&number)), "{seqs:?}");
        self.leases.insert(holder, load);
        true
    }

    /// The numbers of the points in a load.
    pub(super) fn sent(load: &Load) -> Vec<u64> {
        let first = load.batch.seqs.first;
        match &load.part {
            Some(part) => part.indexes.iter().map(|index| first + u64::from(*index)).collect(),
            None => (first..=load.batch.seqs.last).collect(),
        }
    }

    /// The server answers as the verdict says, whatever it was sent.
    pub(super) fn answer(&mut self, holder: usize, verdict: Verdict) -> bool {
        let answered = match verdict {
            Verdict::Delivered => Answered::Delivered,
            Verdict::Refused(refusal) => Answered::RefusedWhole(refusal),
            Verdict::Hold(trouble) => Answered::Hold(trouble),
        };
        self.bring_home(holder, |_| answered)
    }

    /// The server fails, and it may be the data.
    pub(super) fn fail_in_doubt(&mut self, holder: usize, trouble: &Trouble) -> bool {
        self.bring_home(holder, |_| Answered::Hold(trouble.clone()))
    }

    /// The server looks at what it was sent, and says no more than that there is something bad in it.
    pub(super) fn judge(&mut self, holder: usize, refusal: &Refusal) -> bool {
        let bad = self.bad;
        self.bring_home(holder, |load| {
            if Self::sent(load).into_iter().any(bad) { refuse(load, refusal) } else { Answered::Delivered }
        })
    }

    /// The server takes no more points in one request than these.
    pub(super) fn measure(&mut self, holder: usize, points_max: u64) -> bool {
        let words = "Request Entity Too Large".into();
        let refusal = Refusal { status: 413, words, cause: Cause::TooLarge, blame: Blame::Size };
        self.bring_home(holder, |load| {
            if load.points() > points_max { refuse(load, &refusal) } else { Answered::Delivered }
        })
    }

    /// The server fails whenever it is sent something bad, and takes the rest.
    pub(super) fn choke(&mut self, holder: usize, trouble: &Trouble) -> bool {
        let bad = self.bad;
        self.bring_home(holder, |load| {
            if Self::sent(load).into_iter().any(bad) {
                Answered::Hold(trouble.clone())
            } else {
                Answered::Delivered
            }
        })
    }

    fn bring_home(&mut self, holder: usize, answer: impl FnOnce(&Load) -> Answered) -> bool {
        let Some(load) = self.leases.remove(&holder) else { return false };
        self.requests += 1;
        let wants_ping = self.transit.answered(load.key, answer(&load), 0.5, self.now);
        if wants_ping {
            let lines = load.lines().unwrap().lines;
            self.transit.suspect(load.key, lines, self.now);
        }
        let seqs = load.batch.seqs;
        if !self.transit.window.contains_key(&load.key) {
            for number in seqs.first..=seqs.last {
                self.learn_fate(number);
            }
        }
        true
    }

    /// A batch has ended: what became of a point of it. It may have been dropped from the file meanwhile.
    fn learn_fate(&mut self, number: u64) {
        let Some(Standing::Settled(fate)) = self.transit.standing(number) else {
            panic!("{number} is nowhere");
        };
        let kept = matches!(fate, Fate::Quarantined(_)) && self.terms.loss_window.is_some();
        let given_up = fate == Fate::Rejected && self.terms.loss_window.is_none();
        if self.pending.contains(&number) {
            assert!(
                fate == Fate::Delivered || fate == Fate::Expired || kept || given_up,
                "{number}: {fate:?}"
            );
            self.settle(number, fate);
        }
    }

    /// A sender dies, or is stopped.
    pub(super) fn die(&mut self, holder: usize, panicked: bool) {
        let Some(load) = self.leases.remove(&holder) else { return };
        let panics = self.transit.window.get(&load.key).map(|held| held.panics);
        self.transit.release_all(Holder::http(holder), panicked, self.now);
        if panics.is_some_and(|panics| panics + u32::from(panicked) >= 2) {
            let seqs = load.batch.seqs;
            let fate = self.set_aside(QuarantineReason::Panicked);
            (seqs.first..=seqs.last).for_each(|number| self.settle(number, fate));
        }
    }

    /// Without a spool there is no quarantine.
    fn set_aside(&self, reason: QuarantineReason) -> Fate {
        if self.terms.loss_window.is_some() { Fate::Quarantined(reason) } else { Fate::Rejected }
    }

    fn settle(&mut self, number: u64, fate: Fate) {
        assert!(
            self.pending.remove(&number),
            "{number} has one fate: {:?}, {fate:?}",
            self.fates.get(&number)
        );
        self.fates.insert(number, fate);
    }

    pub(super) fn ask(&mut self, back: u64, until: Until) {
        let Some(number) = self.transit.last_seq().checked_sub(back).filter(|number| *number > 0) else {
            return;
        };
        if self.pending.contains(&number) && !self.is_due(number, until) {
            self.receipts.push((number, until, self.transit.wait_for(number, until)));
        }
    }

    fn is_due(&self, number: u64, until: Until) -> bool {
        let has_fate = !self.pending.contains(&number) || self.damaged.contains(&number);
        has_fate || until == Until::Persisted && self.disk.stored().any(|stored| stored == number)
    }

    pub(super) fn flush(&mut self) {
        let mark = self.transit.last_seq();
        self.flushes.push((mark, self.transit.wait_for_flush(mark)));
    }

    pub(super) fn commit_all(&mut self) {
        let mark = self.transit.last_seq();
        self.commits.push((mark, self.transit.wait_for_commit(mark)));
    }

    /// Everyone looks whether there is something to do, as they do when they are woken.
    pub(super) fn look(&mut self) -> bool {
        let mut found = false;
        loop {
            let more = self.plan(false) | (self.take_jobs(usize::MAX) > 0);
            if !more {
                return found;
            }
            found = true;
        }
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        [self.transit.next_seal_at(), self.transit.next_commit_at()].into_iter().flatten().min()
    }

    /// Time passes up to the moment somebody is due: nobody was before, and somebody is.
    pub(super) fn pass_to_next_due(&mut self) -> bool {
        self.look();
        let Some(due) = self.next_due() else { return false };
        assert!(due > self.now, "nobody wakes to find nothing: {:?}", self.now - due);
        let just_before = due - Duration::from_nanos(1);
        if just_before > self.now {
            self.now = just_before;
            assert!(!self.look(), "nobody sleeps over what is due");
        }
        self.now = due;
        assert!(self.look(), "whoever wakes finds something");
        true
    }

    /// The process dies, and begins again with what is on disk.
    pub(super) fn crash(&mut self) {
        let bad = self.bad;
        self.disk.seq_next = self.transit.next_seq() + 7;
        let disk = self.disk.clone();
        let ledger = disk.ledger();
        let backlog = disk.backlog();
        assert_eq!(ledger.accepted().points, ledger.settled_points() + backlog.points, "on disk");
        let now = self.now;
        *self = Self { now, bad, ..Self::new(self.terms, disk) };
    }
}

fn refuse(load: &Load, refusal: &Refusal) -> Answered {
    let part = load.lines().unwrap();
    let complaint = Complaint::new(&part.lines, &part.indexes, refusal.clone());
    Answered::Refused { complaint, lines: part.lines }
}
