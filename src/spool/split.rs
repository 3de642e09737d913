//! Whether the parts of a stored batch are that batch.
//!
//! A batch whose points met different fates is settled in parts, and the row it lay in is deleted: what no part covers
//! would be gone, and what two cover counted twice. So parts that are not exactly the batch are not believed. Then the
//! batch is kept whole in quarantine, from where it can be sent again, since sending a point twice does no harm and
//! losing one does.

use crate::machines::plan::DirectFate;
use crate::values::fate::{Fate, QuarantineReason};
use crate::values::ledger::Tally;
use crate::values::seq::SeqRange;

/// What becomes of a batch whose parts are wrong.
pub(super) const WRONG: Fate = Fate::Quarantined(QuarantineReason::Unresolved);

/// What is said about it in quarantine.
pub(super) const WRONG_WORDS: &str = "the parts that were to be settled are not exactly this batch";

/// The parts in the order of their numbers, if they are the batch: each number in one part, all bytes together, and of
/// what is quarantined the body that it says, of nothing else any.
pub(super) fn in_order(parts: &[DirectFate], whole: SeqRange, tally: Tally) -> Option<Vec<&DirectFate>> {
    let mut parts: Vec<_> = parts.iter().collect();
    parts.sort_by_key(|part| part.seqs.first);
    let mut next = whole.first;
    let mut bytes_left = tally.bytes;
    for part in &parts {
        let follows = part.seqs.first == next && (next..=whole.last).contains(&part.seqs.last);
        if !follows || !keeps_what_it_says(part) {
            return None;
        }
        next = part.seqs.last + 1;
        bytes_left = bytes_left.checked_sub(part.bytes)?;
    }
    (next == whole.last + 1 && bytes_left == 0).then_some(parts)
}

fn keeps_what_it_says(part: &DirectFate) -> bool {
    match (&part.quarantine, part.fate) {
        (Some(kept), Fate::Quarantined(_)) => {
            kept.batch.seqs == part.seqs && kept.batch.raw_len == part.bytes
        }
        (kept, fate) => kept.is_none() && !matches!(fate, Fate::Quarantined(_)),
    }
}
