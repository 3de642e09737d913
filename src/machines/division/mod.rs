//! A batch whose points part ways: some are delivered, some are bad, and which is which has to be found out.
//!
//! A batch is divided when a server refuses it, when it is too large for the server, when it makes the server fail again
//! and again, and when UDP can carry only some of its lines. It stays one batch, in its place and in its row, until every
//! line has its ending; then all of them are recorded at once. A process that dies in between begins again with the
//! whole batch, which is harmless: the points are written twice.
//!
//! ```text
//!            named lines ─► bad            2xx ─► delivered
//!  refused ─►                     parts ─►
//!            the rest, or halves ─►        refused ─► smaller parts, at last single lines ─► bad
//! ```
//!
//! # How bad lines are found
//!
//! - Lines that the server names are bad; the rest is sent again.
//! - A refusal that names none is answered by sending the same once more (InfluxDB 1.x refuses a batch that brings two
//!   types for a new field, keeps the first, and takes the rest the second time), then by halves. Of n lines one bad
//!   one takes at most 2·log2(n) + 2 requests: where the first half turns out good, the second is not tried as a whole.
//! - Points that are too old are parted by their age, not by their place.
//! - After [`FOUND_MAX`] bad lines, or [`NAMINGS_MAX`] refusals that named some, what is refused is not looked into any
//!   more: each part goes to quarantine whole.
//!
//! # What makes a server fail
//!
//! An answer that says nothing about the data may still be the data's doing: poison that panics a handler looks like a
//! connection that breaks. A *suspect* batch is sent in parts, and a line is condemned only by experiment: it fails, a
//! line that was delivered before is taken again (the control), and it fails once more. If nothing of a batch is taken,
//! that proves nothing, until another batch is delivered in its stead.

mod blame;
mod ending;
mod lines;
#[cfg(test)]
pub(crate) mod tests;

use std::collections::VecDeque;
use std::sync::Arc;

pub(crate) use blame::{BadLine, Complaint};
pub(crate) use lines::Lines;

use self::ending::Endings;
use super::verdict::{Blame, Cause, Refusal, Trouble};
use crate::values::fate::{Fate, QuarantineReason};

/// Bad lines that are looked for one by one in a batch. At two requests a halving this is a thousand requests at worst.
pub(crate) const FOUND_MAX: u32 = 100;

/// Refusals that name lines are followed so often. A server that names one line at a time, of thousands that are bad,
/// would have to be asked as many times.
const NAMINGS_MAX: u32 = 1_000;

/// See the [module's documentation](self).
#[derive(Debug)]
pub(crate) struct Division {
    lines: Arc<Lines>,
    /// What is still to be sent. The first may be in a sender's hand.
    parts: VecDeque<Part>,
    endings: Endings,
    /// Bad lines, and runs of nothing else, found one by one.
    found: u32,
    /// Refusals that named lines.
    namings: u32,
    suspicion: Option<Suspicion>,
}

/// Lines to be sent together.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    /// Their indexes, ascending.
    pub(crate) indexes: Arc<[u32]>,
    role: Role,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Role {
    /// To be sent once more as it is before it is halved.
    Whole,
    /// Halved when it is refused.
    Piece,
    /// The second half of what was refused. If the first is good, this one is bad.
    SecondHalf,
    /// Made the server fail, and what was delivered before did not: the next time is the proof.
    Charged,
    /// A line that was delivered before, sent to see whether the server still takes it.
    Control,
}

/// The batch makes the server fail, perhaps.
#[derive(Debug)]
struct Suspicion {
    /// How it fails.
    trouble: Trouble,
    /// The server took something else meanwhile: it is not the server.
    proven: bool,
    last_tried: bool,
}

/// What a failure means for a suspect batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failed {
    /// Nothing: the way to the server is in trouble, and the batch waits.
    Hold,
    /// It was an experiment, and the next follows at once.
    GoesOn,
}

impl Division {
    /// A batch that was refused as a whole.
    pub(crate) fn of_refused(lines: Arc<Lines>, complaint: Complaint) -> Self {
        let mut division = Self::of_whole(lines, Role::Whole);
        division.refused(complaint);
        division
    }

    /// A batch larger than the server is known to take: in parts of at most so many bytes each.
    pub(crate) fn by_size(lines: Arc<Lines>, bytes_max: u64) -> Self {
        let mut parts = VecDeque::new();
        let (mut begin, mut bytes) = (0, 0);
        let all = lines.all();
        for (nth, index) in all.iter().enumerate() {
            let more = lines.get(*index).len() as u64;
            if bytes + more > bytes_max && nth > begin {
                parts.push_back(Part::new(&all[begin..nth], Role::Whole));
                (begin, bytes) = (nth, 0);
            }
            bytes += more;
        }
        parts.push_back(Part::new(&all[begin..], Role::Whole));
        Self::new(lines, parts)
    }

    /// A batch of which another wire has carried all but `left`. They are sent if somebody can; otherwise they end here.
    pub(crate) fn of_carried(lines: Arc<Lines>, left: &[u32], can_send: bool) -> Self {
        let parts = can_send.then(|| Part::new(left, Role::Whole)).into_iter().collect();
        let all = lines.all();
        let mut division = Self::new(lines, parts);
        division.endings.set(&all, Fate::Unconfirmed);
        division.endings.clear(left);
        if !can_send {
            let words = "longer than a datagram may be".to_owned();
            let ending =
                ending::Bad { fate: Fate::Quarantined(QuarantineReason::Unsendable), status: None, words };
            division.endings.set_bad(left, ending);
        }
        division
    }

    /// A batch that makes the server fail, perhaps.
    pub(crate) fn of_suspect(lines: Arc<Lines>, trouble: Trouble) -> Self {
        let mut division = Self::of_whole(lines, Role::Piece);
        division.suspect(trouble);
        division.halve();
        division
    }

    /// Failing becomes suspicious while the batch is divided already.
    pub(crate) fn suspect(&mut self, trouble: Trouble) {
        let proven = self.endings.delivered().is_some();
        self.suspicion = Some(Suspicion { trouble, proven, last_tried: false });
    }

    fn of_whole(lines: Arc<Lines>, role: Role) -> Self {
        let whole = Part::new(&lines.all(), role);
        Self::new(lines, VecDeque::from([whole]))
    }

    fn new(lines: Arc<Lines>, parts: VecDeque<Part>) -> Self {
        let endings = Endings::new(lines.count());
        Self { lines, parts, endings, found: 0, namings: 0, suspicion: None }
    }

    pub(crate) const fn lines(&self) -> &Arc<Lines> {
        &self.lines
    }

    /// What is to be sent next; `None` when every line has its ending.
    pub(crate) fn next(&self) -> Option<&Part> {
        self.parts.front()
    }

    /// Whether it waits for another batch to show that the server is well.
    pub(crate) fn wants_witness(&self) -> bool {
        self.suspicion.as_ref().is_some_and(|suspicion| !suspicion.proven && suspicion.last_tried)
    }

    /// Whether it is being found out already what of the batch makes the server fail like this.
    pub(crate) fn is_suspect_of(&self, trouble: &Trouble) -> bool {
        self.suspicion.as_ref().is_some_and(|suspicion| suspicion.is_of(trouble))
    }

    /// Another batch was delivered: it is not the server that fails.
    pub(crate) fn witnessed(&mut self) {
        if let Some(suspicion) = &mut self.suspicion {
            suspicion.proven = true;
        }
    }

    /// The server took the part.
    pub(crate) fn delivered(&mut self) {
        let Some(part) = self.parts.pop_front() else { return };
        if part.role != Role::Control {
            self.endings.set(&part.indexes, Fate::Delivered);
        }
        self.witnessed();
        if let Some(next) = self.parts.front()
            && next.role == Role::SecondHalf
            && next.indexes.len() > 1
            && part.role != Role::Control
            && self.suspicion.is_none()
            && !self.is_exhausted()
        {
            // It need not be sent to know that it is refused.
            self.halve();
        }
    }

    /// The server refused the part.
    pub(crate) fn refused(&mut self, complaint: Complaint) {
        let Some(part) = self.parts.pop_front() else { return };
        let Complaint { refusal, named } = complaint;
        if part.role == Role::Control {
            // Whatever has become of this line, the server is well enough to say so.
            return;
        }
        self.second_half_is_innocent();
        if !named.is_empty() {
            self.namings += 1;
            if self.namings > NAMINGS_MAX {
                self.condemn(&part, &refusal, QuarantineReason::Unresolved);
            } else {
                self.name_bad(&part, refusal.status, named);
            }
            return;
        }
        let count = part.indexes.len();
        let again = part.role == Role::Whole && refusal.cause != Cause::TooLarge;
        match refusal.blame {
            Blame::Size if count == 1 => self.condemn(&part, &refusal, QuarantineReason::TooLarge),
            Blame::Size => self.halve_by_size(&part),
            // The second time is either the first of the good ones, or proof.
            _ if again => self.parts.push_front(Part { role: Role::Piece, ..part }),
            Blame::All => {
                self.found += 1;
                self.condemn(&part, &refusal, reason_of(refusal.cause));
            }
            _ if count == 1 => {
                self.found += 1;
                self.condemn(&part, &refusal, reason_of(refusal.cause));
            }
            _ if self.is_exhausted() => self.condemn(&part, &refusal, QuarantineReason::Unresolved),
            _ if refusal.cause == Cause::TooOld => self.halve_by_age(&part),
            _ => {
                self.parts.push_front(part);
                self.halve();
            }
        }
    }

    /// The server failed, or there was no answer.
    pub(crate) fn failed(&mut self, trouble: &Trouble) -> Failed {
        let exhausted = self.is_exhausted();
        let Some(suspicion) = self.suspicion.as_mut().filter(|suspicion| suspicion.is_of(trouble)) else {
            self.acquit_if_control();
            return Failed::Hold;
        };
        let Some(part) = self.parts.front_mut() else { return Failed::Hold };
        let last_resort = part.indexes.len() == 1 || exhausted;
        match part.role {
            Role::Control => {
                // The server fails with what it took before: it is the server.
                self.acquit();
                Failed::Hold
            }
            Role::Charged => {
                let words = format!("while it was sent: {}", suspicion.trouble.words);
                let bad = ending::Bad { fate: SUSPECT, status: trouble.status, words };
                self.found += 1;
                if let Some(part) = self.parts.pop_front() {
                    self.endings.set_bad(&part.indexes, bad);
                }
                Failed::GoesOn
            }
            _ if !last_resort => {
                self.halve();
                Failed::GoesOn
            }
            _ if suspicion.proven => {
                part.role = Role::Charged;
                if let Some(good) = self.endings.delivered() {
                    self.parts.push_front(Part::new(&[good], Role::Control));
                }
                Failed::GoesOn
            }
            _ if !suspicion.last_tried => {
                suspicion.last_tried = true;
                if self.try_last() { Failed::GoesOn } else { Failed::Hold }
            }
            _ => Failed::Hold,
        }
    }

    /// Every line's ending; `None` as long as one has none.
    pub(crate) fn endings(&self) -> Option<&Endings> {
        self.parts.is_empty().then_some(&self.endings)
    }

    const fn is_exhausted(&self) -> bool {
        self.found >= FOUND_MAX
    }

    /// Names lines as bad. What is left of the part is sent again.
    fn name_bad(&mut self, part: &Part, status: u16, named: Vec<BadLine>) {
        let mut bad: Vec<u32> = named.iter().map(|line| line.index).collect();
        bad.sort_unstable();
        for BadLine { index, cause, words } in named {
            let fate = fate_of(cause, reason_of(cause));
            self.endings.set_bad(&[index], ending::Bad { fate, status: Some(status), words });
        }
        let rest: Vec<u32> =
            part.indexes.iter().copied().filter(|index| bad.binary_search(index).is_err()).collect();
        if !rest.is_empty() {
            self.parts.push_front(Part::new(&rest, Role::Piece));
        }
    }

    fn condemn(&mut self, part: &Part, refusal: &Refusal, reason: QuarantineReason) {
        let fate = fate_of(refusal.cause, reason);
        let bad = ending::Bad { fate, status: Some(refusal.status), words: refusal.words.clone() };
        self.endings.set_bad(&part.indexes, bad);
    }

    /// Puts the halves of the first part in its place.
    fn halve(&mut self) {
        let Some(part) = self.parts.pop_front() else { return };
        if part.indexes.len() < 2 {
            self.parts.push_front(part);
            return;
        }
        let (first, second) = part.indexes.split_at(part.indexes.len() / 2);
        self.put_first(first, second, Role::SecondHalf);
    }

    fn halve_by_size(&mut self, part: &Part) {
        let half = self.lines.bytes_of(&part.indexes) / 2;
        let mut bytes = 0;
        let mut is_first = |index: &u32| {
            bytes += self.lines.get(*index).len() as u64;
            bytes <= half
        };
        let middle = part.indexes.iter().position(|index| !is_first(index)).unwrap_or(0);
        let (first, second) = part.indexes.split_at(middle.clamp(1, part.indexes.len() - 1));
        // Each may still be refused for what is in it.
        let second = Part::new(second, Role::Whole);
        self.parts.push_front(second);
        self.parts.push_front(Part::new(first, Role::Whole));
    }

    fn halve_by_age(&mut self, part: &Part) {
        let mut by_age = part.indexes.to_vec();
        by_age.sort_by_key(|index| self.lines.timestamp(*index));
        let (old, new) = by_age.split_at_mut(part.indexes.len() / 2);
        old.sort_unstable();
        new.sort_unstable();
        self.put_first(old, new, Role::SecondHalf);
    }

    fn put_first(&mut self, first: &[u32], second: &[u32], role: Role) {
        self.parts.push_front(Part::new(second, role));
        self.parts.push_front(Part::new(first, Role::Piece));
    }

    /// What was refused was not good, so nothing follows for the other half.
    fn second_half_is_innocent(&mut self) {
        if let Some(next) = self.parts.front_mut().filter(|next| next.role == Role::SecondHalf) {
            next.role = Role::Piece;
        }
    }

    /// Puts the last line of all first; whether that is another than the one that is first already.
    fn try_last(&mut self) -> bool {
        if self.parts.len() < 2 {
            return false;
        }
        let Some(part) = self.parts.pop_back() else { return false };
        if let Some((last, rest)) = part.indexes.split_last() {
            if !rest.is_empty() {
                self.parts.push_back(Part::new(rest, Role::Piece));
            }
            self.parts.push_front(Part::new(&[*last], Role::Piece));
        }
        true
    }

    fn acquit_if_control(&mut self) {
        if self.parts.front().is_some_and(|part| matches!(part.role, Role::Control | Role::Charged)) {
            self.acquit();
        }
    }

    /// The experiment failed: whatever was charged is as before.
    fn acquit(&mut self) {
        self.parts.retain(|part| part.role != Role::Control);
        if let Some(part) = self.parts.front_mut().filter(|part| part.role == Role::Charged) {
            part.role = Role::Piece;
        }
    }
}

const SUSPECT: Fate = Fate::Quarantined(QuarantineReason::Suspect);

impl Suspicion {
    fn is_of(&self, trouble: &Trouble) -> bool {
        is_same(&self.trouble, trouble)
    }
}

/// Whether two failures are the same one, seen twice.
pub(crate) fn is_same(one: &Trouble, other: &Trouble) -> bool {
    (one.kind, one.status, &one.words) == (other.kind, other.status, &other.words)
}

impl Part {
    fn new(indexes: &[u32], role: Role) -> Self {
        Self { indexes: indexes.into(), role }
    }
}

fn fate_of(cause: Cause, reason: QuarantineReason) -> Fate {
    if cause == Cause::TooOld { Fate::Expired } else { Fate::Quarantined(reason) }
}

const fn reason_of(cause: Cause) -> QuarantineReason {
    match cause {
        Cause::Malformed => QuarantineReason::Malformed,
        Cause::TypeConflict => QuarantineReason::TypeConflict,
        Cause::TooLarge => QuarantineReason::TooLarge,
        Cause::TooOld | Cause::Other => QuarantineReason::Refused,
    }
}
