//! What is known of every point without asking the code under test: what was pushed, what was answered, what the
//! server has.

use std::collections::{BTreeMap, BTreeSet};

use crate::machines::codec;
use crate::machines::transit::Load;
use crate::spool::{Opened, Spool};
use crate::values::batch::Batch;
use crate::values::fate::{Durability, Fate, Standing};
use crate::values::ledger::Ledger;

#[derive(Clone, Debug, Default)]
pub(super) struct Account {
    /// Accepted, in whichever life.
    pub(super) accepted: BTreeSet<u64>,
    /// Said to be on disk, and what that survives.
    pub(super) persisted: BTreeMap<u64, Durability>,
    /// The server has them.
    pub(super) received: BTreeSet<u64>,
    /// The spool was damaged on purpose: what is lost with it is no fault, but has to be counted where it can be known.
    pub(super) damaged: bool,
    /// Batches may leave a full spool or expire.
    pub(super) may_go: bool,
    /// It was being stopped.
    pub(super) stopping: bool,
    /// What the ledger showed last.
    shown: Option<Ledger>,
}

/// How the last life ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It is the first.
    Never,
    Cleanly,
    /// With its memory.
    Killed,
    /// With whatever was not synced.
    PowerCut,
}

/// The line of a number. Some are long and do not compress, so that files fill.
pub(super) fn line_of(number: u64) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(number);
    let letters = if number.is_multiple_of(5) { random.usize(..3_000) } else { 3 };
    let text: String = std::iter::repeat_with(|| random.alphanumeric()).take(letters).collect();
    format!("m,t=a n={number}i,s=\"{text}\" {number}\n").into_bytes()
}

impl Account {
    pub(super) fn new(may_go: bool) -> Self {
        Self { may_go, ..Self::default() }
    }

    pub(super) fn receive(&mut self, load: &Load) {
        self.received.extend(numbers_of(load));
    }

    /// What is sent is what was pushed, whole and in order, and nothing else.
    pub(super) fn check_load(&self, load: &Load) {
        let numbers = numbers_of(load);
        let expected: Vec<u8> = numbers.iter().flat_map(|number| line_of(*number)).collect();
        let (codec, body) = load.body();
        let plain = codec::decode_body(codec, expected.len() as u64, &body).unwrap();
        assert!(plain == expected, "{:?} is sent as it was pushed", load.batch.seqs);
        assert!(numbers.iter().all(|number| self.accepted.contains(number)), "{:?}", load.batch.seqs);
    }

    pub(super) fn show(&mut self, ledger: Ledger) {
        self.shown = Some(ledger);
    }

    /// What holds in a file that was just opened, before anything is done to it.
    pub(super) fn check_opened(&self, opened: &Opened, spool: &mut Spool, ended: Ended) {
        let ledger = &opened.ledger;
        assert_eq!(
            ledger.accepted().points,
            ledger.settled_points() + opened.backlog.points,
            "the ledger on disk adds up: {opened:?}"
        );
        let last = self.accepted.last().copied().unwrap_or(0);
        if self.damaged {
            // Whoever looked at it now would find the damage before the database does.
            return;
        }
        assert!(opened.seq_next > last, "number {} would be given twice", opened.seq_next);
        assert_eq!(opened.salvaged, None, "nobody damaged it");
        self.check_persisted(spool, ended);
        check_rows(spool);
    }

    /// How the file says that it ended, and what its ledger had come to, against what was seen of that.
    pub(super) fn check_end(&mut self, opened: &Opened, ended: Ended) {
        if let Some(shown) = self.shown.as_ref().filter(|_| !self.damaged) {
            let unclean = matches!(ended, Ended::Killed | Ended::PowerCut);
            // One that died while it was stopping may have come far enough.
            assert!(opened.unclean_end == unclean || (unclean && self.stopping), "{ended:?}");
            let accepted = (opened.ledger.accepted().points, shown.accepted().points);
            assert!(accepted.0 <= accepted.1, "more than was ever shown: {accepted:?}");
            assert!(ended != Ended::Cleanly || accepted.0 == accepted.1, "less after a stop: {accepted:?}");
        }
        (self.shown, self.stopping) = (None, false);
    }

    fn check_persisted(&self, spool: &mut Spool, ended: Ended) {
        for (number, standing) in self.lost(spool) {
            let promised = ended != Ended::PowerCut || self.persisted[&number] == Durability::Power;
            assert!(!promised, "{number} was persisted, and is {standing:?} after {ended:?}");
        }
    }

    /// The points that were said to be on disk and are not, without a fate that explains it.
    pub(super) fn lost(&self, spool: &mut Spool) -> Vec<(u64, Option<Standing>)> {
        let standings = self.persisted.keys().map(|number| (*number, spool.standing(*number).unwrap()));
        let is_lost = |(number, standing): &(u64, Option<Standing>)| match standing {
            Some(Standing::Durable(_)) => false,
            Some(Standing::Settled(Fate::Delivered)) => !self.received.contains(number),
            Some(Standing::Settled(Fate::Quarantined(_) | Fate::Rejected)) => false,
            Some(Standing::Settled(Fate::Shed(_) | Fate::Expired)) => !self.may_go,
            _ => true,
        };
        standings.filter(is_lost).collect()
    }

    /// Whether nothing was answered or received since.
    pub(super) fn knows_as_much(&self, later: &Self) -> bool {
        self.persisted.len() == later.persisted.len() && self.received.len() == later.received.len()
    }

    /// The end: each point has one fate, and the ledger has as many of each as there are.
    pub(super) fn check_the_end(&self, opened: &Opened, spool: &mut Spool) {
        assert_eq!(opened.backlog.points, 0, "nothing is left");
        if self.damaged {
            return;
        }
        let mut fates = BTreeMap::<Fate, u64>::new();
        for number in &self.accepted {
            match spool.standing(*number).unwrap() {
                Some(Standing::Settled(fate)) => *fates.entry(fate).or_default() += 1,
                Some(Standing::Lost) => assert!(!self.persisted.contains_key(number), "{number} is lost"),
                other => panic!("{number} has no fate: {other:?}"),
            }
        }
        for fate in Fate::ALL {
            let counted = opened.ledger.of(fate).points;
            assert_eq!(counted, fates.get(&fate).copied().unwrap_or(0), "{fate:?}");
        }
    }
}

/// The numbers of the points in a load.
pub(super) fn numbers_of(load: &Load) -> Vec<u64> {
    let first = load.batch.seqs.first;
    match &load.part {
        Some(part) => part.indexes.iter().map(|index| first + u64::from(*index)).collect(),
        None => (first..=load.batch.seqs.last).collect(),
    }
}

/// What is stored is what was pushed.
fn check_rows(spool: &mut Spool) {
    for row in spool.read_after(None, usize::MAX, u64::MAX).unwrap() {
        check_batch(&row.batch.unwrap());
    }
}

fn check_batch(batch: &Batch) {
    let expected: Vec<u8> = (batch.seqs.first..=batch.seqs.last).flat_map(line_of).collect();
    let plain = codec::decode_body(batch.codec, batch.raw_len, &batch.body).unwrap();
    assert!(plain == expected, "{:?} is stored as it was pushed", batch.seqs);
}
