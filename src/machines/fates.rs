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

    /// Forgets the fates of a range.
    pub(crate) fn forget(&mut self, seqs: SeqRange) {
        let begins_before =
            self.ranges.range(..seqs.first).next_back().map(|(first, range)| (*first, *range));
        if let Some((first, (last, fate))) = begins_before.filter(|(_, (last, _))| *last >= seqs.first) {
            self.ranges.insert(first, (seqs.first - 1, fate));
            self.keep_behind(seqs, last, fate);
        }
        while let Some((&first, &(last, fate))) = self.ranges.range(seqs.first..=seqs.last).next() {
            self.ranges.remove(&first);
            self.keep_behind(seqs, last, fate);
        }
    }

    /// Forgets which points are in quarantine.
    pub(crate) fn forget_quarantined(&mut self) {
        self.ranges.retain(|_, (_, fate)| !matches!(fate, Fate::Quarantined(_)));
    }

    /// Keeps what a range held behind the end of those forgotten.
    fn keep_behind(&mut self, forgotten: SeqRange, last: u64, fate: Fate) {
        if last > forgotten.last {
            self.ranges.insert(forgotten.last + 1, (last, fate));
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
    fn what_is_forgotten_leaves_what_was_around_it() {
        for (first, last) in [(1, 30), (5, 25), (11, 20), (10, 10), (1, 1), (30, 30), (15, 40)] {
            let mut log = FateLog::default();
            log.note(SeqRange { first: 1, last: 10 }, Fate::Delivered);
            log.note(SeqRange { first: 11, last: 20 }, Fate::Expired);
            log.note(SeqRange { first: 21, last: 30 }, Fate::Delivered);
            log.forget(SeqRange { first, last });
            for number in 1..=30 {
                let fate = if (11..=20).contains(&number) { Fate::Expired } else { Fate::Delivered };
                let wants = (number < first || number > last).then_some(fate);
                assert_eq!(log.of(number), wants, "{number} without {first}..={last}");
            }
        }
    }

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
