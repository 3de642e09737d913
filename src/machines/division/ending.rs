//! How each line of a divided batch ended.

use bytes::Bytes;

use super::Lines;
use crate::machines::plan::{DirectFate, Quarantined};
use crate::values::batch::{Batch, Codec};
use crate::values::fate::Fate;
use crate::values::seq::SeqRange;

/// One ending a line.
#[derive(Debug)]
pub(crate) struct Endings {
    of_lines: Vec<Ending>,
    bad: Vec<Bad>,
    /// A line that was delivered.
    delivered: Option<u32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    None,
    Sent(Fate),
    /// The place in the list of bad ones.
    Bad(u32),
}

/// The ending of a bad line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bad {
    pub(crate) fate: Fate,
    pub(crate) status: Option<u16>,
    pub(crate) words: String,
}

impl Endings {
    pub(super) fn new(lines: usize) -> Self {
        Self { of_lines: vec![Ending::None; lines], bad: Vec::new(), delivered: None }
    }

    pub(super) fn set(&mut self, indexes: &[u32], fate: Fate) {
        if fate == Fate::Delivered {
            self.delivered = self.delivered.or(indexes.first().copied());
        }
        self.put(indexes, Ending::Sent(fate));
    }

    pub(super) fn clear(&mut self, indexes: &[u32]) {
        self.put(indexes, Ending::None);
    }

    pub(super) fn set_bad(&mut self, indexes: &[u32], bad: Bad) {
        let place = u32::try_from(self.bad.len()).unwrap_or(u32::MAX);
        self.bad.push(bad);
        self.put(indexes, Ending::Bad(place));
    }

    /// A line that was delivered, if one was.
    pub(super) const fn delivered(&self) -> Option<u32> {
        self.delivered
    }

    /// What is to be recorded: neighbours of one ending together, with the lines of those to be kept. `fate` says what
    /// being set aside comes to.
    pub(crate) fn parts(&self, lines: &Lines, batch: &Batch, fate: impl Fn(Fate) -> Fate) -> Vec<DirectFate> {
        let mut parts = Vec::new();
        let mut first = 0;
        while first < self.of_lines.len() {
            let ending = self.of_lines[first];
            let more = self.of_lines[first..].iter().take_while(|next| self.is_same(**next, ending)).count();
            let last = first + more - 1;
            parts.extend(self.part(lines, batch, (first, last), ending, &fate));
            first += more;
        }
        parts
    }

    fn part(
        &self,
        lines: &Lines,
        batch: &Batch,
        (first, last): (usize, usize),
        ending: Ending,
        fate: impl Fn(Fate) -> Fate,
    ) -> Option<DirectFate> {
        let seqs = SeqRange { first: batch.seqs.first + first as u64, last: batch.seqs.first + last as u64 };
        let body = lines.slice(u32::try_from(first).ok()?, u32::try_from(last).ok()?);
        let bytes = body.len() as u64;
        match ending {
            Ending::None => None,
            Ending::Sent(fate) => {
                Some(DirectFate { seqs, bytes, fate, quarantine: None, written_off: false })
            }
            Ending::Bad(place) => {
                let bad = self.bad.get(place as usize)?;
                let fate = fate(bad.fate);
                let quarantine = matches!(fate, Fate::Quarantined(_)).then(|| bad.keep(batch, seqs, body));
                Some(DirectFate { seqs, bytes, fate, quarantine, written_off: false })
            }
        }
    }

    /// Whether lines that end like this are recorded together.
    fn is_same(&self, one: Ending, other: Ending) -> bool {
        match (one, other) {
            (Ending::Bad(one), Ending::Bad(other)) if one != other => {
                self.bad.get(one as usize) == self.bad.get(other as usize)
            }
            (one, other) => one == other,
        }
    }

    fn put(&mut self, indexes: &[u32], ending: Ending) {
        for index in indexes {
            if let Some(place) = self.of_lines.get_mut(*index as usize) {
                *place = ending;
            }
        }
    }
}

impl Bad {
    fn keep(&self, batch: &Batch, seqs: SeqRange, body: Bytes) -> Quarantined {
        let batch = Batch { seqs, codec: Codec::Identity, raw_len: body.len() as u64, body, ..batch.clone() };
        Quarantined { batch, status: self.status, words: Some(self.words.clone()) }
    }
}
