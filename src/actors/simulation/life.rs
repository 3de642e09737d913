//! One life of a database: from the opening of its spool to a stop, or to whatever else ends it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::oneshot::Receiver;

use super::account::{Account, line_of};
use super::figures::Figures;
use crate::actors::keeping::{self, Moment};
use crate::actors::shared::Shared;
use crate::actors::slot::SpoolSlot;
use crate::machines::division::{Complaint, Lines};
use crate::machines::plan::CommitPlan;
use crate::machines::queue::EncodedLine;
use crate::machines::transit::{Answered, Holder, Lease, Load, SealJob};
use crate::machines::verdict::{Blame, Cause, Refusal, Trouble};
use crate::machines::waiters::Until;
use crate::spool::{Opened, Spool, SpoolOptions};
use crate::values::config::Config;
use crate::values::fate::{Fate, Standing};
use crate::values::health::Pending;
use crate::values::line_protocol::encoder::Encoder;
use crate::values::trouble::TroubleKind;

pub(super) struct Life {
    pub(super) shared: Shared,
    /// Closed after a failure, until it is opened again.
    pub(super) spool: Option<Box<Spool>>,
    options: SpoolOptions,
    jobs: Vec<SealJob>,
    pub(super) leases: BTreeMap<usize, Load>,
    receipts: Vec<(u64, Receiver<Standing>)>,
    /// Accepted before this life, and in it.
    accepted_before: u64,
    accepted: u64,
    /// Sent in this life, once or more.
    sent: BTreeSet<u64>,
    /// Something gave the order up: a replay, or a search that needed a witness.
    out_of_order: bool,
}

/// What the server does with what it is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Server {
    Takes,
    /// It takes it, and nobody hears of it.
    TakesUnheard,
    Down,
    /// It fails, and it may be the data.
    Fails,
    /// It takes nothing that has a bad point in it, and says no more than that.
    Judges,
    /// It takes three points in one request.
    Measures,
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Answered,
    /// It happened, and the worker died before it could say so.
    AnswerLost,
    /// The worker died before.
    Never,
}

impl Life {
    pub(super) fn begin(config: &Config, options: &SpoolOptions, spool: Spool, opened: &Opened) -> Self {
        let encoder = Encoder::new(config.precision, &config.lines).unwrap();
        let opened_spool = Some((spool, opened.clone()));
        let shared = Shared::new(config.clone(), encoder, opened_spool, Some(options.clone())).unwrap();
        let spool = shared.take_spool();
        Self {
            shared,
            spool,
            options: options.clone(),
            jobs: Vec::new(),
            leases: BTreeMap::new(),
            receipts: Vec::new(),
            accepted_before: opened.ledger.accepted().points,
            accepted: 0,
            sent: BTreeSet::new(),
            out_of_order: false,
        }
    }

    pub(super) fn push(&mut self, account: &mut Account, at: Moment) {
        let number = self.shared.with(|transit| transit.next_seq());
        let line = line_of(number);
        let destination = Arc::clone(&self.shared.destination);
        let pushed = self.shared.with(|transit| {
            let timestamp = number as i64;
            // Of two points one is written where it stays, if that can be.
            if number.is_multiple_of(2) && transit.has_place(line.len(), &destination) {
                transit.tail().extend_from_slice(&line);
                return Ok(transit.keep_tail(timestamp));
            }
            transit.push(EncodedLine { bytes: &line, timestamp }, &destination, || at.steady)
        });
        if pushed.is_ok() {
            self.accepted += 1;
            // A salvaged spool whose state was lost is another one, with numbers of its own.
            assert!(account.accepted.insert(number) || account.damaged, "{number} is given once");
            let receipt = self.shared.with(|transit| transit.wait_for(number, Until::Persisted));
            self.receipts.push((number, receipt));
        }
    }

    /// The batcher takes what is due.
    pub(super) fn take_jobs(&mut self, jobs_max: usize, at: Moment) -> bool {
        let seal_at = self.shared.with(|transit| transit.agenda(at.steady)).seal_at;
        let jobs = self.shared.with(|transit| transit.take_seal_jobs(jobs_max, at.steady, wall_ms(at)));
        let taken = !jobs.is_empty();
        assert!(!taken || seal_at.is_some_and(|due| due <= at.steady), "the batcher would not be woken");
        self.jobs.extend(jobs);
        taken
    }

    /// A compression comes to its end, or panics.
    pub(super) fn finish_job(&mut self, nth: usize, well: bool, at: Moment) -> bool {
        let Some(nth) = nth.checked_rem(self.jobs.len()) else { return false };
        let job = self.jobs.remove(nth);
        if well {
            let batch = job.run().unwrap();
            let key = job.key;
            self.shared.with(|transit| transit.sealed(key, batch));
        } else {
            let key = job.key;
            drop(job);
            self.shared.with(|transit| transit.seal_failed(key, "panicked", at.steady, wall_ms(at)));
        }
        true
    }

    /// The store looks what there is to do, and does it.
    pub(super) fn work(&mut self, force: bool, end: End, at: Moment, figures: &mut Figures) -> bool {
        let Some(mut spool) = self.spool.take() else { return false };
        let stamp_last = self.shared.stamp_last_nanos();
        let store_at = self.shared.with(|transit| transit.agenda(at.steady)).store_at;
        let plan = self.shared.with(|transit| transit.plan_commit(force, stamp_last, at.steady));
        let reads = self.shared.with(|transit| transit.wants_read()).is_some();
        let finds_work = plan.is_some() && !force || reads;
        assert!(!finds_work || store_at.is_some_and(|due| due <= at.steady), "the store would not be woken");
        if plan.is_none() && !reads && !force {
            self.spool = Some(spool);
            return false;
        }
        let done = match end {
            End::Answered => keeping::work(&self.shared, &mut spool, plan.as_ref(), move || at).map(|_| true),
            End::AnswerLost => {
                figures.count("commits whose answer was lost");
                commit_unheard(&mut spool, plan.as_ref(), at);
                Ok(false)
            }
            End::Never => Ok(false),
        };
        figures.count("commits");
        if matches!(done, Ok(true)) {
            self.spool = Some(spool);
        } else {
            // As the store does: only opening it anew tells what is in it.
            drop(spool);
            self.shared.put_spool(SpoolSlot::Closed("a fault".into()));
        }
        true
    }

    /// Opens the spool again after a failure.
    pub(super) fn reopen(&mut self, at: Moment, account: &mut Account, figures: &mut Figures) -> bool {
        if self.spool.is_some() {
            return false;
        }
        match keeping::reopen(&self.shared, &self.options, move || at) {
            Ok(spool) => {
                figures.count("reopened after a failure");
                self.spool = Some(Box::new(spool));
                self.shared.put_spool(SpoolSlot::working(at.steady));
                // What a worker that died had done is known now.
                self.accepted_before = if account.damaged { u64::MAX } else { self.accepted_before };
                true
            }
            Err(_) => false,
        }
    }

    /// A sender asks for work. Says whether that moved anything.
    pub(super) fn lease(&mut self, holder: usize, account: &Account, at: Moment) -> bool {
        if self.leases.contains_key(&holder) {
            return false;
        }
        let sends = self.shared.with(|transit| transit.agenda(at.steady)).sends;
        match self.shared.with(|transit| transit.lease(Holder::http(holder), at.steady)) {
            Lease::Load(load) => {
                assert!(sends, "the sender would not be woken");
                account.check_load(&load);
                self.check_order(&load);
                self.leases.insert(holder, load);
                true
            }
            Lease::Oversized { key, batch } => {
                let lines = Lines::of(&batch).ok();
                self.shared.with(|transit| transit.divide(key, lines));
                true
            }
            Lease::Unmade => true,
            Lease::NotBefore(_) | Lease::Nothing => false,
        }
    }

    /// What is sent for the first time is younger than what was.
    fn check_order(&mut self, load: &Load) {
        let numbers = super::account::numbers_of(load);
        let first = load.batch.seqs.first;
        if !self.sent.contains(&numbers[0]) && load.part.is_none() {
            let newest = self.sent.last().copied().unwrap_or(0);
            assert!(first > newest || self.out_of_order, "{first} is sent after {newest}");
        }
        self.sent.extend(numbers);
    }

    pub(super) fn answer(
        &mut self,
        holder: usize,
        server: Server,
        random: f64,
        account: &mut Account,
        at: Moment,
    ) -> bool {
        let Some(load) = self.leases.remove(&holder) else { return false };
        let numbers = super::account::numbers_of(&load);
        let is_bad = numbers.iter().any(|number| number % 23 == 3);
        let answered = match server {
            Server::Down => Answered::Hold(trouble(false)),
            Server::Fails => Answered::Hold(trouble(true)),
            Server::TakesUnheard => {
                account.receive(&load);
                Answered::Hold(trouble(false))
            }
            Server::Judges if is_bad => refuse(&load, Cause::Malformed, Blame::Some),
            Server::Measures if numbers.len() > 3 => refuse(&load, Cause::TooLarge, Blame::Size),
            Server::Takes | Server::Judges | Server::Measures => {
                account.receive(&load);
                Answered::Delivered
            }
        };
        let suspect = self.shared.with(|transit| transit.answered(load.key, answered, random, at.steady));
        if suspect {
            self.out_of_order = true;
            let lines = load.lines().unwrap().lines;
            self.shared.with(|transit| transit.suspect(load.key, lines, at.steady));
        }
        true
    }

    /// A sender dies.
    pub(super) fn release(&mut self, holder: usize, panicked: bool, at: Moment) {
        if self.leases.remove(&holder).is_some() {
            self.shared.with(|transit| transit.release_all(Holder::http(holder), panicked, at.steady));
        }
    }

    pub(super) fn replay(&mut self) {
        self.out_of_order = true;
        drop(self.shared.with(|transit| transit.replay(None)));
    }

    /// A stop: everything that is only in memory is stored, and the file is closed. Whether that went well.
    pub(super) fn stop(&mut self, at: Moment) -> bool {
        // Workers finish what they have in hand.
        while self.finish_job(0, true, at) {}
        self.shared.with(|transit| transit.stop());
        let Some(spool) = self.spool.take() else { return false };
        keeping::close(&self.shared, *spool, move || at)
    }

    /// Takes note of what was answered.
    pub(super) fn hear(&mut self, account: &mut Account, figures: &mut Figures) {
        self.receipts.retain_mut(|(number, receipt)| {
            let Ok(standing) = receipt.try_recv() else { return true };
            if let Standing::Durable(durability) = standing {
                account.persisted.insert(*number, durability);
                figures.count("persisted");
            }
            false
        });
    }

    /// What holds at every moment.
    pub(super) fn check(&self, account: &mut Account) {
        let stats = self.shared.stats();
        let ledger = &stats.ledger;
        assert_eq!(
            ledger.accepted().points,
            ledger.settled_points() + stats.pending.points,
            "the ledger adds up: {stats:?}"
        );
        if !account.damaged {
            let settled: u64 = Fate::ALL.iter().map(|fate| ledger.of(*fate).bytes).sum();
            let Pending { queued, sealed, spooled, .. } = stats.pending;
            let pending = queued.bytes + sealed.bytes + spooled.bytes;
            assert_eq!(ledger.accepted().bytes, settled + pending, "its bytes add up: {stats:?}");
            let accepted = self.accepted_before + self.accepted;
            assert_eq!(ledger.accepted().points, accepted, "each accepted point is counted once");
        }
        let received = account.received.len() as u64;
        let delivered = ledger.of(Fate::Delivered).points;
        // Where the record of a delivery was damaged the points are sent, and counted, again.
        assert!(delivered <= received || account.damaged, "{delivered} delivered, {received} received");
        account.show(stats.ledger);
    }

    /// When somebody is due.
    pub(super) fn next_due(&self, at: Moment) -> Option<std::time::Instant> {
        let due = self.shared.with(|transit| {
            [transit.next_seal_at(), transit.next_commit_at(), transit.next_attempt_at(at.steady)]
        });
        due.into_iter().flatten().filter(|due| *due > at.steady).min()
    }

    /// Everything has its fate, nobody has anything in hand, and the spool is open.
    pub(super) fn is_at_rest(&self) -> bool {
        let idle = self.leases.is_empty() && self.jobs.is_empty() && self.spool.is_some();
        // A stop would take back what somebody waits for, and leave it in the spool.
        let is_replaying = self.shared.with(|transit| transit.is_replaying());
        idle && !is_replaying && self.shared.stats().pending.points == 0
    }
}

fn commit_unheard(spool: &mut Spool, plan: Option<&CommitPlan>, at: Moment) {
    if let Some(plan) = plan {
        // Whatever it says, nobody hears it.
        let _ = spool.commit(plan, at.wall);
    }
}

fn refuse(load: &Load, cause: Cause, blame: Blame) -> Answered {
    let status = if cause == Cause::TooLarge { 413 } else { 400 };
    let refusal = Refusal { status, words: "no".into(), cause, blame };
    let part = load.lines().unwrap();
    let complaint = Complaint::new(&part.lines, &part.indexes, refusal);
    Answered::Refused { complaint, lines: part.lines }
}

fn trouble(may_be_data: bool) -> Trouble {
    Trouble {
        kind: TroubleKind::Unreachable,
        status: None,
        words: "connection reset".into(),
        retry_after: None,
        may_be_data,
    }
}

fn wall_ms(at: Moment) -> i64 {
    let since = at.wall.duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap_or_default();
    since.as_millis() as i64
}
