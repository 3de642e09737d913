//! Runs everybody in turn, round by round, and keeps what was measured.

use std::path::Path;

use anyhow::{Context as _, Result};

use crate::contestants::Contestant;
use crate::figures::{Figure, Figures, median};
use crate::lines::Mix;
use crate::rows::{Choice, Measure, Side};

pub struct Results {
    pub entries: Vec<Entry>,
    pub rounds: usize,
}

/// What one contestant measured, round by round.
pub struct Entry {
    pub contestant: Contestant,
    pub rounds: Vec<Figures>,
}

/// Several values of one thing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub median: f64,
    pub min: f64,
    pub max: f64,
    pub count: usize,
}

/// Every round runs everybody, in the opposite order of the round before: what the machine does besides, or how warm it is,
/// meets all alike.
pub fn run(contestants: Vec<Contestant>, rounds: usize, dir: &Path) -> Result<Results> {
    let mut entries: Vec<_> =
        contestants.into_iter().map(|contestant| Entry { contestant, rounds: Vec::new() }).collect();
    for round in 0..rounds {
        let mut order: Vec<&mut Entry> =
            entries.iter_mut().filter(|entry| round < entry.contestant.rounds_max).collect();
        if round % 2 == 1 {
            order.reverse();
        }
        for entry in order {
            let Contestant { family, setting, mix, job, .. } = &entry.contestant;
            let name = format!("{family} {setting} {mix:?}");
            eprint!("\rround {} of {rounds}: {name:70}", round + 1);
            let figures = job.run(dir).with_context(|| name)?;
            entry.rounds.push(figures);
        }
    }
    eprintln!();
    Ok(Results { entries, rounds })
}

impl Results {
    /// What is measured, round by round; `None` if somebody was absent.
    pub fn spread(&self, measure: Measure) -> Option<Spread> {
        match measure {
            Measure::Of(side) => Spread::of(self.values(side)?),
            Measure::Ratio(side, other) => Spread::of(
                self.values(side)?.into_iter().zip(self.values(other)?).map(|(a, b)| a / b).collect(),
            ),
        }
    }

    /// The setting of a family that counts.
    pub fn chosen(&self, family: &str, mix: Mix, choice: Choice) -> Option<&Entry> {
        let settings = self.entries.iter().filter(|entry| {
            let contestant = &entry.contestant;
            contestant.family == family && contestant.mix == mix && !entry.rounds.is_empty()
        });
        let merit = |entry: &&Entry| match choice {
            Choice::Fastest => entry.spread(Figure::PointsPerSecond).map_or(0.0, |spread| spread.median),
            Choice::Cheapest => -entry.spread(Figure::CpuSeconds).map_or(f64::MAX, |spread| spread.median),
        };
        settings.max_by(|a, b| merit(a).total_cmp(&merit(b)))
    }

    fn values(&self, side: Side) -> Option<Vec<f64>> {
        self.chosen(side.family, Mix::Realistic, side.choice)?.values(side.figure)
    }
}

impl Entry {
    pub fn spread(&self, figure: Figure) -> Option<Spread> {
        Spread::of(self.values(figure)?)
    }

    fn values(&self, figure: Figure) -> Option<Vec<f64>> {
        self.rounds.iter().map(|figures| figures.get(&figure).copied()).collect()
    }
}

impl Spread {
    fn of(values: Vec<f64>) -> Option<Self> {
        Some(Self {
            median: median(values.iter().copied())?,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            count: values.len(),
        })
    }
}
