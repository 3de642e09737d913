//! From the window to the server: leases, answers, what is held and what is set aside.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;

use super::held::{Fault, Held, Holder, Wire};
use super::save::{End, Settled};
use super::seal::PANICS_MAX;
use super::{News, Transit};
use crate::machines::codec;
use crate::machines::division::{Complaint, Division, Failed, Lines, is_same};
use crate::machines::link::LinkNews;
use crate::machines::plan::{AttemptNote, DirectFate};
use crate::machines::verdict::{Blame, Refusal, Trouble};
use crate::values::batch::{Batch, Codec};
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::seq::SeqRange;
use crate::values::trouble::TroubleKind;

/// Of memory's bound, the part that bodies on their way to quarantine may fill.
const QUARANTINE_PART: u64 = 4;

/// A failure becomes suspicious when it has been seen so often for one batch …
const FAULTS_MIN: u32 = 3;

/// … over so long a time: a server that restarts is back by then.
const FAULTY_FOR: Duration = Duration::from_secs(10);

/// What a sender is given when it asks for work.
#[derive(Debug)]
pub(crate) enum Lease {
    /// Something to send.
    Load(Load),
    /// A batch larger than the server is known to take, to be [divided](Transit::divide) before it is sent.
    Oversized { key: u64, batch: Batch },
    /// Nothing before this moment: the link is down.
    NotBefore(Instant),
    /// The first batch has to be made before: the batcher is to be told.
    Unmade,
    /// Nothing until something changes.
    Nothing,
}

/// A batch, or a part of one, in a sender's hand. The list keeps its own copy: a lease that is never answered loses
/// nothing.
#[derive(Clone, Debug)]
pub(crate) struct Load {
    pub(crate) key: u64,
    pub(crate) batch: Batch,
    /// Which lines of the batch; all of them unless it is divided.
    pub(crate) part: Option<LoadPart>,
}

/// Some lines of a batch.
#[derive(Clone, Debug)]
pub(crate) struct LoadPart {
    pub(crate) lines: Arc<Lines>,
    pub(crate) indexes: Arc<[u32]>,
}

/// What a server that refuses large bodies takes, in bytes of plain lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SizeLearnt {
    /// It took so many, at the most.
    taken: u64,
    /// It refused so many, at the least.
    refused: u64,
}

impl SizeLearnt {
    fn refused(before: Option<Self>, bytes: u64) -> Self {
        let refused = before.map_or(bytes, |size| size.refused.min(bytes));
        let taken = before.map_or(0, |size| size.taken);
        // What was refused was larger when it was compressed.
        Self { taken: if taken < refused { taken } else { 0 }, refused }
    }

    /// How many to try in one body.
    const fn to_try(self) -> u64 {
        if self.taken > 0 { self.taken } else { self.refused / 2 }
    }
}

impl Load {
    /// How many points are to be sent.
    pub(crate) fn points(&self) -> u64 {
        self.part.as_ref().map_or(self.batch.points(), |part| part.indexes.len() as u64)
    }

    /// What is to be sent, encoded as the batch is.
    pub(crate) fn body(&self) -> (Codec, Bytes) {
        let codec = self.batch.codec;
        match &self.part {
            None => (codec, self.batch.body.clone()),
            Some(part) => {
                let plain = part.lines.gather(&part.indexes);
                let body = if codec == Codec::Identity { plain } else { codec::encode_body(codec, &plain) };
                (codec, body)
            }
        }
    }

    /// The lines of the whole batch, and which of them are to be sent.
    ///
    /// # Errors
    /// The body is not what the batch says it is.
    pub(crate) fn lines(&self) -> Result<LoadPart, codec::BodyError> {
        if let Some(part) = &self.part {
            return Ok(part.clone());
        }
        let lines = Arc::new(Lines::of(&self.batch)?);
        let indexes = lines.all().into();
        Ok(LoadPart { lines, indexes })
    }
}

/// What came of sending a load.
#[derive(Clone, Debug)]
pub(crate) enum Answered {
    /// The server has the points.
    Delivered,
    /// The answer says nothing about the data.
    Hold(Trouble),
    /// The server refuses some or all of the points.
    Refused { complaint: Complaint, lines: Arc<Lines> },
    /// The server refuses the points, and they cannot be told apart.
    RefusedWhole(Refusal),
}

impl Transit {
    /// The first batch that may be sent now, for the sender `holder`.
    pub(crate) fn lease(&mut self, holder: Holder, now: Instant) -> Lease {
        let link = self.link(holder.wire);
        if let Some(at) = link.not_before(now) {
            return Lease::NotBefore(at);
        }
        // What the server refuses has to be stored: while that fails, no more of it is asked for.
        if self.books.unsaved.quarantine_bytes() > self.terms.bytes_max / QUARANTINE_PART {
            return Lease::Nothing;
        }
        // While the server is down one request probes it, not a storm; when it is back, they become more one by one.
        let in_hand = |held: &&Held| held.leased.is_some_and(|leased| leased.wire == holder.wire);
        let in_flight = self.window.values().filter(in_hand).count();
        if in_flight >= link.requests_max() {
            return Lease::Nothing;
        }
        let Some(key) = self.first_sendable(holder.wire, now) else { return Lease::Nothing };
        let size = self.size.filter(|_| holder.wire == Wire::Http);
        let Some(held) = self.window.get_mut(&key) else { return Lease::Nothing };
        let Some(batch) = held.batch().cloned() else {
            held.wanted = true;
            return Lease::Unmade;
        };
        held.wanted = false;
        held.leased = Some(holder);
        let part = held.next_part();
        if part.is_none() && batch.points() > 1 && size.is_some_and(|size| batch.raw_len >= size.refused) {
            return Lease::Oversized { key, batch };
        }
        self.counters.requests += 1;
        Lease::Load(Load { key, batch, part })
    }

    /// Divides a batch that is larger than the server is known to take. `lines` are those of its body.
    pub(crate) fn divide(&mut self, key: u64, lines: Option<Lines>) {
        let Some(held) = self.window.get_mut(&key) else { return };
        held.leased = None;
        match (lines, self.size) {
            (Some(lines), Some(size)) => {
                held.division = Some(Box::new(Division::by_size(Arc::new(lines), size.to_try())));
            }
            // It cannot be divided: then it is sent as it is.
            _ => self.size = None,
        }
    }

    /// Acts on what came of a load. `random` is uniform in 0..1. Whether the server is to be asked if it is well: the
    /// batch is [suspect](Self::suspect) if so.
    pub(crate) fn answered(&mut self, key: u64, answered: Answered, random: f64, now: Instant) -> bool {
        let mut wants_ping = false;
        match answered {
            Answered::Delivered => {
                self.delivered(key, now);
                self.succeed(Wire::Http, now);
            }
            Answered::Hold(trouble) => wants_ping = self.hold(key, &trouble, random, now),
            Answered::Refused { complaint, lines } => {
                self.refused(key, complaint, lines, now);
                // Whoever refuses data is there.
                self.succeed(Wire::Http, now);
            }
            Answered::RefusedWhole(refusal) => {
                self.quarantine(key, QuarantineReason::Refused, refusal.status, &refusal.words, now);
                self.succeed(Wire::Http, now);
            }
        }
        self.pass_marks();
        wants_ping
    }

    /// The lines of a batch were sent by UDP, but for those of index `left`, which are too long for a datagram.
    pub(crate) fn carried(&mut self, key: u64, left: Option<(Arc<Lines>, Vec<u32>)>, now: Instant) {
        match left {
            None => self.settle(key, Fate::Unconfirmed, None, None, now),
            Some((lines, left)) => {
                let can_send = self.terms.udp.is_some_and(|udp| udp.http_fallback);
                if let Some(held) = self.window.get_mut(&key) {
                    held.leased = None;
                    held.division = Some(Box::new(Division::of_carried(lines, &left, can_send)));
                }
                self.finish_division(key, now);
            }
        }
        self.succeed(Wire::Udp, now);
        self.pass_marks();
    }

    /// The server answers by HTTP, though it was given nothing. While UDP carries everything nothing else would tell that an
    /// outage is over.
    pub(crate) fn answers_by_http(&mut self, now: Instant) {
        let Some((kind, _)) = self.link.trouble() else { return };
        let is_over = match kind {
            TroubleKind::Unreachable => true,
            // Whoever answers may still take no points. While some are for HTTP, sending them tells.
            TroubleKind::Timeout | TroubleKind::Unavailable => {
                let by_udp = |held: &Held| held.leased.is_some_and(|holder| holder.wire == Wire::Udp);
                !self.window.values().any(|held| !by_udp(held) && self.goes_by(held, Wire::Http, now))
            }
            // These do not pass: somebody has to mend them before HTTP is needed again.
            TroubleKind::Unauthorized
            | TroubleKind::NoSuchDatabase
            | TroubleKind::Misconfigured
            | TroubleKind::WrongEndpoint => false,
        };
        if is_over {
            self.succeed(Wire::Http, now);
        }
    }

    /// A batch could not be sent by UDP: nobody listens there.
    pub(crate) fn not_carried(&mut self, key: u64, trouble: &Trouble, random: f64, now: Instant) {
        self.give_back(key, trouble);
        let news = self.udp_link.fail(trouble, random, now);
        self.tell_link(Wire::Udp, news);
        self.pass_marks();
    }

    /// The server is well, and yet this batch fails again and again: it may be the batch.
    pub(crate) fn suspect(&mut self, key: u64, lines: Arc<Lines>, now: Instant) {
        let Some(held) = self.window.get_mut(&key).filter(|held| held.leased.is_none()) else { return };
        let Some(fault) = held.fault.take() else { return };
        match &mut held.division {
            Some(division) => division.suspect(fault.trouble),
            none => *none = Some(Box::new(Division::of_suspect(lines, fault.trouble))),
        }
        self.link.probe_now(now);
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
            self.quarantine(key, QuarantineReason::Panicked, 0, &words, now);
        }
        self.pass_marks();
    }

    /// How many requests are under way.
    pub(crate) fn in_flight(&self) -> usize {
        self.window.values().filter(|held| held.leased.is_some()).count()
    }

    fn delivered(&mut self, key: u64, now: Instant) {
        let Some(held) = self.window.get_mut(&key) else { return };
        if let Some(size) = &mut self.size {
            size.taken = size.taken.max(held.next_bytes());
        }
        match &mut held.division {
            None => self.settle(key, Fate::Delivered, None, None, now),
            Some(division) => {
                division.delivered();
                held.leased = None;
                self.finish_division(key, now);
            }
        }
        // Whatever else fails, the server is well.
        for (other, held) in &mut self.window {
            if let Some(division) = held.division.as_mut().filter(|_| *other != key) {
                division.witnessed();
            }
        }
    }

    fn refused(&mut self, key: u64, complaint: Complaint, lines: Arc<Lines>, now: Instant) {
        let Some(held) = self.window.get_mut(&key) else { return };
        held.leased = None;
        held.fault = None;
        if complaint.refusal.blame == Blame::Size {
            self.size = Some(SizeLearnt::refused(self.size, held.next_bytes()));
        }
        match &mut held.division {
            Some(division) => division.refused(complaint),
            none => *none = Some(Box::new(Division::of_refused(lines, complaint))),
        }
        self.finish_division(key, now);
    }

    fn hold(&mut self, key: u64, trouble: &Trouble, random: f64, now: Instant) -> bool {
        if let Some(held) = self.window.get_mut(&key)
            && let Some(division) = &mut held.division
            && division.failed(trouble) == Failed::GoesOn
        {
            held.leased = None;
            self.finish_division(key, now);
            return false;
        }
        self.give_back(key, trouble);
        let news = self.link.fail(trouble, random, now);
        self.tell_link(Wire::Http, news);
        self.note_fault(key, trouble, now)
    }

    /// Notes a failure that may be the data's doing; whether it has become suspicious.
    fn note_fault(&mut self, key: u64, trouble: &Trouble, now: Instant) -> bool {
        let in_doubt = trouble.may_be_data;
        let Some(held) = self.window.get_mut(&key) else { return false };
        let seen = held.fault.take_if(|fault| in_doubt && is_same(&fault.trouble, trouble));
        let (since, times) = seen.map_or((now, 0), |fault| (fault.since, fault.times));
        held.fault = in_doubt.then(|| Fault { trouble: trouble.clone(), since, times: times + 1 });
        let is_suspect = held.division.as_ref().is_some_and(|division| division.is_suspect_of(trouble));
        in_doubt && !is_suspect && times + 1 >= FAULTS_MIN && now - since >= FAULTY_FOR
    }

    /// Records what became of the points of a divided batch, if all of them have their ending.
    fn finish_division(&mut self, key: u64, now: Instant) {
        let Some(held) = self.window.get(&key) else { return };
        let (Some(division), Some(batch)) = (&held.division, held.batch()) else { return };
        let Some(endings) = division.endings() else { return };
        let parts = endings.parts(division.lines(), batch, |fate| self.as_kept(fate));
        self.settle_parts(key, parts, now);
    }

    /// The first batch nobody has in hand, unless an older one has to be waited for. It may not be made yet.
    pub(super) fn first_sendable(&self, wire: Wire, now: Instant) -> Option<u64> {
        let evicting = self.may_be_evicting();
        // At a stop there is no later: what finds no room in the spool can be kept only by the server.
        let is_last_chance = self.stopped && self.withheld.is_some();
        let stored_first = self.terms.loss_window.is_some_and(|window| window.is_zero()) && !is_last_chance;
        let mut without_witness = None;
        for (key, held) in &self.window {
            let rows_between = self.beyond.batches > 0 && *key > self.read_to;
            // A transaction may be dropping old rows to make room: they are not to be sent at the same time.
            let may_go = evicting && !held.is_volatile();
            let unsaved = stored_first && held.is_volatile();
            if rows_between || may_go || unsaved {
                break;
            }
            if held.leased.is_some() || !self.goes_by(held, wire, now) {
                continue;
            }
            // Nothing of it is taken. Whether that is the server's fault is for the next batch to show.
            if held.division.as_ref().is_some_and(|division| division.wants_witness()) {
                without_witness = without_witness.or(Some(*key));
                continue;
            }
            return Some(*key);
        }
        without_witness
    }

    /// Whether a batch may be sent by this wire.
    fn goes_by(&self, held: &Held, wire: Wire, now: Instant) -> bool {
        let Some(udp) = self.terms.udp else { return wire == Wire::Http };
        // A listener belongs to one database.
        let at_home = self.home.as_deref() == Some(held.destination());
        let by_udp = at_home && held.division.is_none();
        match wire {
            Wire::Udp => by_udp,
            Wire::Http => !by_udp || udp.http_fallback && self.is_udp_passed_over(now),
        }
    }

    /// Whether HTTP stands in for UDP: nobody listens there. When it is time to look again whether somebody does, one
    /// batch is left to UDP for that.
    fn is_udp_passed_over(&self, now: Instant) -> bool {
        let tries = |held: &Held| held.leased.is_some_and(|holder| holder.wire == Wire::Udp);
        self.udp_link.is_down()
            && (self.udp_link.not_before(now).is_some() || self.window.values().any(tries))
    }

    /// Whether no wire leads to the server.
    pub(super) const fn is_cut_off(&self) -> bool {
        self.link.is_down() && (self.terms.udp.is_none() || self.udp_link.is_down())
    }

    fn succeed(&mut self, wire: Wire, now: Instant) {
        let link = match wire {
            Wire::Http => &mut self.link,
            Wire::Udp => &mut self.udp_link,
        };
        let news = link.succeed(now);
        self.tell_link(wire, news);
    }

    fn tell_link(&mut self, wire: Wire, news: Option<LinkNews>) {
        self.news.extend(news.map(|news| News::Link(wire, news)));
    }

    const fn link(&self, wire: Wire) -> &crate::machines::link::Link {
        match wire {
            Wire::Http => &self.link,
            Wire::Udp => &self.udp_link,
        }
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
        self.record(key, Settled { held, end: End::Whole { fate, status, words } }, now);
    }

    /// Gives the points of a batch their different fates.
    fn settle_parts(&mut self, key: u64, parts: Vec<DirectFate>, now: Instant) {
        if let [DirectFate { fate, quarantine: None, .. }] = parts[..] {
            return self.settle(key, fate, None, None, now);
        }
        let Some(held) = self.remove(key) else { return };
        for part in &parts {
            self.note_fate(
                part.seqs,
                crate::values::ledger::Tally::new(part.seqs.points(), part.bytes),
                part.fate,
            );
            if let (Fate::Quarantined(reason), Some(kept)) = (part.fate, &part.quarantine) {
                let words = kept.words.as_deref().unwrap_or_default();
                self.tell_quarantined(part.seqs, reason, kept.status, words);
            }
        }
        self.record(key, Settled { held, end: End::Parts(parts) }, now);
    }

    fn record(&mut self, key: u64, settled: Settled, now: Instant) {
        if settled.held.saving {
            self.settle_when_saved(key, settled);
        } else {
            let row = settled.held.row;
            self.record_settled(settled, row, now);
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
        self.as_kept(Fate::Quarantined(reason))
    }

    const fn as_kept(&self, fate: Fate) -> Fate {
        match fate {
            Fate::Quarantined(_) if self.terms.loss_window.is_none() => Fate::Rejected,
            fate => fate,
        }
    }

    fn quarantine(&mut self, key: u64, reason: QuarantineReason, status: u16, words: &str, now: Instant) {
        let Some(held) = self.window.get(&key) else { return };
        let status = (status != 0).then_some(status);
        let seqs = held.seqs;
        self.tell_quarantined(seqs, reason, status, words);
        let fate = self.set_aside_fate(reason);
        self.settle(key, fate, status, Some(words.to_owned()), now);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_is_tried_with_what_it_took_or_with_half_of_what_it_refused() {
        let first = SizeLearnt::refused(None, 100);
        assert_eq!((first.refused, first.to_try()), (100, 50));
        let took = SizeLearnt { taken: 60, ..first };
        assert_eq!(took.to_try(), 60);
        for (refused, learnt) in [(200, (60, 100)), (80, (60, 80)), (60, (0, 60)), (40, (0, 40))] {
            let size = SizeLearnt::refused(Some(took), refused);
            assert_eq!((size.taken, size.refused), learnt, "refused {refused}");
        }
    }
}
