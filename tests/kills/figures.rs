//! What many rounds came to.

use std::time::Duration;

use super::journal::Journal;

#[derive(Default)]
pub(crate) struct Figures {
    lives: u64,
    before_open: u64,
    pushed: u64,
    answered: u64,
    missing: u64,
    pub(crate) resent: u64,
    pub(crate) oldest_missing: Duration,
    rates: Vec<f64>,
    pub(crate) to_first_push: Vec<Duration>,
    pub(crate) to_first_send: Vec<Duration>,
}

impl Figures {
    pub(crate) fn count(&mut self, journal: &Journal, arrived: u64) {
        let announced = journal.announced();
        self.lives += 1;
        self.before_open += u64::from(!journal.has_started());
        self.pushed += announced;
        self.answered += journal.answers().len() as u64;
        self.missing += announced - arrived;
        self.rates.extend(journal.rate());
    }

    /// Each of the answered points was checked before: none of them is missing.
    pub(crate) fn report(mut self, what: &str) {
        println!(
            "{what}: {} kills, {} of them before the spool was open; {} points pushed, {} answered persisted, 0 of these missing; {} others missing, the oldest \
             pushed {:?} before the kill; {} sent again",
            self.lives,
            self.before_open,
            self.pushed,
            self.answered,
            self.missing,
            self.oldest_missing,
            self.resent,
        );
        self.rates.sort_by(f64::total_cmp);
        let rate = |part: f64| part_of(&self.rates, part).copied().unwrap_or_default();
        println!("{what}: points/s while alive: median {:.0}, least {:.0}", rate(0.5), rate(0.0));
        let times = [("first push", self.to_first_push), ("first request", self.to_first_send)];
        for (name, mut times) in times {
            times.sort_unstable();
            let time = |part: f64| part_of(&times, part).copied().unwrap_or_default();
            println!(
                "{what}: from opening to the {name}: median {:?}, p99 {:?}, max {:?} of {}",
                time(0.5),
                time(0.99),
                time(1.0),
                times.len()
            );
        }
    }
}

/// The value below which this part of sorted values lies.
fn part_of<T>(sorted: &[T], part: f64) -> Option<&T> {
    let last = sorted.len().checked_sub(1)?;
    sorted.get((last as f64 * part).round() as usize)
}
