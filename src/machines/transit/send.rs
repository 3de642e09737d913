//! From the window to the server: leases, answers, what is held and what is set aside.

use std::time::Instant;

use super::held::{Held, Holder};
use super::save::Settled;
use super::seal::PANICS_MAX;
use super::{News, Transit};
use crate::machines::plan::{AttemptNote, SettleRow};
use crate::machines::verdict::{Blame, Cause, Refusal, Trouble, Verdict};
use crate::values::batch::Batch;
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::seq::SeqRange;

/// Of memory's bound, the part that bodies on their way to quarantine may fill.
const QUARANTINE_PART: u64 = 4;

/// What a sender is given when it asks for work.
#[derive(Debug)]
pub(crate) enum Lease {
    /// A batch to send.
    Batch(Leased),
    /// Nothing before this moment: the link is down.
    NotBefore(Instant),
    /// The first batch has to be made before: the batcher is to be told.
    Unmade,
    /// Nothing until something changes.
    Nothing,
}

/// A batch in a sender's hand. The list keeps its own copy: a lease that is never answered loses nothing.
#[derive(Clone, Debug)]
pub(crate) struct Leased {
    pub(crate) key: u64,
    pub(crate) batch: Batch,
}

impl Transit {
    /// The first batch that may be sent now, for the sender `holder`.
    pub(crate) fn lease(&mut self, holder: Holder, now: Instant) -> Lease {
        if let Some(at) = self.link.not_before(now) {
            return Lease::NotBefore(at);
        }
        // What the server refuses has to be stored: while that fails, no more of it is asked for.
        if self.books.unsaved.quarantine_bytes() > self.terms.bytes_max / QUARANTINE_PART {
            return Lease::Nothing;
        }
        // While the server is down one request probes it, not a storm.
        let probing = self.link.is_down() && self.window.values().any(|held| held.leased.is_some());
        if probing {
            return Lease::Nothing;
        }
        let Some(key) = self.first_sendable() else { return Lease::Nothing };
        let Some(held) = self.window.get_mut(&key) else { return Lease::Nothing };
        let Some(batch) = held.batch().cloned() else {
            held.wanted = true;
            return Lease::Unmade;
        };
        held.wanted = false;
        held.leased = Some(holder);
        self.counters.requests += 1;
        Lease::Batch(Leased { key, batch })
    }

    /// Acts on the verdict on a leased batch. `random` is uniform in 0..1.
    pub(crate) fn answered(&mut self, key: u64, verdict: Verdict, random: f64, now: Instant) {
        match verdict {
            Verdict::Delivered => {
                self.settle(key, Fate::Delivered, None, None, now);
                let news = self.link.succeed(now);
                self.news.extend(news.map(News::Link));
            }
            Verdict::Hold(trouble) => {
                self.give_back(key, &trouble);
                let news = self.link.fail(&trouble, random, now);
                self.news.extend(news.map(News::Link));
            }
            Verdict::Refused(refusal) => {
                self.quarantine(key, QuarantineReason::Refused, refusal, now);
                // Whoever refuses data is there.
                let news = self.link.succeed(now);
                self.news.extend(news.map(News::Link));
            }
        }
        self.pass_marks();
    }

    /// Takes back what a sender had in hand that is no more. A batch that was in work during two panics is set aside
    /// before it is tried a third time.
    pub(crate) fn release_all(&mut self, holder: Holder, panicked: bool, now: Instant) {
        let leased = |held: &&mut Held| held.leased == Some(holder);
        let mut set_aside = Vec::new();
        for held in self.window.values_mut().filter(leased) {
            held.leased = None;
            held.panics += u32::from(panicked);
        }
        for (key, held) in &self.window {
            if held.leased.is_none() && held.panics >= PANICS_MAX && held.batch().is_some() {
                set_aside.push(*key);
            }
        }
        for key in set_aside {
            let words = format!("in work during {PANICS_MAX} panics");
            self.quarantine(
                key,
                QuarantineReason::Panicked,
                Refusal { status: 0, words, cause: Cause::Other, blame: Blame::Some },
                now,
            );
        }
        self.pass_marks();
    }

    /// How many requests are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.window.values().filter(|held| held.leased.is_some()).count()
    }

    /// The first batch nobody has in hand, unless an older one has to be waited for. It may not be made yet.
    fn first_sendable(&self) -> Option<u64> {
        let evicting = self.may_be_evicting();
        let stored_first = self.terms.loss_window.is_some_and(|window| window.is_zero());
        for (key, held) in &self.window {
            let rows_between = self.beyond.batches > 0 && *key > self.read_to;
            // A transaction may be dropping old rows to make room: they are not to be sent at the same time.
            let may_go = evicting && !held.is_volatile();
            let unsaved = stored_first && held.is_volatile();
            if rows_between || may_go || unsaved {
                return None;
            }
            if held.leased.is_none() {
                return Some(*key);
            }
        }
        None
    }

    /// Gives a batch its fate and records it where it has to be recorded.
    pub(super) fn settle(
        &mut self,
        key: u64,
        fate: Fate,
        status: Option<u16>,
        words: Option<String>,
        now: Instant,
    ) {
        let Some(held) = self.remove(key) else { return };
        self.note_fate(held.seqs, held.tally(), fate);
        if held.saving {
            self.settle_when_saved(key, Settled { held, fate, status, words });
            return;
        }
        match held.row {
            Some(row) => {
                let row =
                    SettleRow { row, first_seq: held.seqs.first, fate, status, words, parts: Vec::new() };
                self.books.unsaved.add_settled(row, held.tally(), now);
            }
            None => self.record_unstored(&held, fate, status, words, now),
        }
    }

    pub(super) fn tell_quarantined(
        &mut self,
        seqs: SeqRange,
        reason: QuarantineReason,
        status: Option<u16>,
        words: &str,
    ) {
        self.news.push(News::Quarantined { seqs, reason, status, words: words.to_owned() });
    }

    /// What being set aside means: without a spool there is no quarantine, and the points are given up.
    pub(super) const fn set_aside_fate(&self, reason: QuarantineReason) -> Fate {
        if self.terms.loss_window.is_some() { Fate::Quarantined(reason) } else { Fate::Rejected }
    }

    fn quarantine(&mut self, key: u64, reason: QuarantineReason, refusal: Refusal, now: Instant) {
        let Some(held) = self.window.get(&key) else { return };
        let status = (refusal.status != 0).then_some(refusal.status);
        let seqs = held.seqs;
        self.tell_quarantined(seqs, reason, status, &refusal.words);
        let fate = self.set_aside_fate(reason);
        self.settle(key, fate, status, Some(refusal.words), now);
    }

    fn give_back(&mut self, key: u64, trouble: &Trouble) {
        let Some(held) = self.window.get_mut(&key) else { return };
        held.leased = None;
        held.attempts = held.attempts.saturating_add(1);
        let note = held.row.map(|row| AttemptNote {
            row,
            first_seq: held.seqs.first,
            attempts: held.attempts,
            panics: held.panics,
            status: trouble.status,
            words: Some(trouble.words.clone()),
        });
        if let Some(note) = note {
            self.note_attempt(note);
        }
    }
}
