//! Which numbers met which fate, as ranges that grow together.

use std::collections::BTreeMap;

use crate::values::fate::Fate;
use crate::values::seq::SeqRange;

/// How many ranges are remembered. An orderly stream needs one; each loss in the middle of deliveries adds two.
/// At 40 bytes a range this bounds the log to a few megabytes.
const RANGES_MAX: usize = 65_536;

/// The fates of settled points, by number. Adjacent ranges of one fate are one range.
#[derive(Debug, Default)]
pub(crate) struct FateLog {
    ranges: BTreeMap<u64, (u64, Fate)>,
}

impl FateLog {
    /// Notes the fate of a range that has none yet.
    pub(crate) fn note(&mut self, seqs: SeqRange, fate: Fate) {
        let SeqRange { first, mut last } = seqs;
        if let Some(&(end, same)) = self.ranges.get(&(last + 1))
            && same == fate
        {
            self.ranges.remove(&(last + 1));
            last = end;
        }
        if let Some((_, (end, same))) = self.ranges.range_mut(..first).next_back()
            && *end + 1 == first
            && *same == fate
        {
            *end = last;
            return;
        }
        self.ranges.insert(first, (last, fate));
        if self.ranges.len() > RANGES_MAX {
            self.ranges.pop_first();
        }
    }

    /// The fate of one point; `None` if it has none, or if it was forgotten.
    pub(crate) fn of(&self, number: u64) -> Option<Fate> {
        let (_, &(last, fate)) = self.ranges.range(..=number).next_back()?;
        (number <= last).then_some(fate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::fate::ShedReason;

    #[test]
    fn adjacent_ranges_of_one_fate_grow_together_in_any_order() {
        let range = |first, last| SeqRange { first, last };
        for order in [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            let mut log = FateLog::default();
            for part in order {
                log.note(range(part * 10 + 1, part * 10 + 10), Fate::Delivered);
            }
            assert_eq!(log.ranges.len(), 1, "{order:?}");
            assert_eq!(
                (log.of(0), log.of(1), log.of(30)),
                (None, Some(Fate::Delivered), Some(Fate::Delivered))
            );
            assert_eq!(log.of(31), None);
        }
    }

    #[test]
    fn different_fates_stay_apart() {
        let mut log = FateLog::default();
        let shed = Fate::Shed(ShedReason::QueueFull);
        log.note(SeqRange { first: 1, last: 5 }, Fate::Delivered);
        log.note(SeqRange { first: 6, last: 6 }, shed);
        log.note(SeqRange { first: 7, last: 9 }, Fate::Delivered);
        assert_eq!(
            (log.of(5), log.of(6), log.of(7)),
            (Some(Fate::Delivered), Some(shed), Some(Fate::Delivered))
        );
    }

    #[test]
    fn the_log_is_bounded_and_forgets_the_oldest() {
        let mut log = FateLog::default();
        for i in 0..=RANGES_MAX as u64 {
            log.note(SeqRange { first: i * 2 + 1, last: i * 2 + 1 }, Fate::Delivered);
        }
        assert_eq!(log.ranges.len(), RANGES_MAX);
        assert_eq!((log.of(1), log.of(3)), (None, Some(Fate::Delivered)));
    }
}
