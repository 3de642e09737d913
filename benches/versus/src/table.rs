//! Results as tables, in Markdown.

use std::fmt::Write as _;
use std::path::Path;

use crate::contestants::{WRITERS, YARDSTICKS};
use crate::figures::Figure;
use crate::lines::Mix;
use crate::machine::{self, Ticks};
use crate::rounds::{Entry, Results, Spread};
use crate::rows::{Choice, Limit, Row};

/// All tables. Writing to a string does not fail.
pub fn markdown(results: &Results, rows: &[Row], dir: &Path, begin: Ticks) -> String {
    let mut out = String::new();
    for line in machine::description(dir, begin) {
        let _ = writeln!(out, "- {line}");
    }
    let _ = writeln!(out, "- median of {} rounds (least to greatest)", results.rounds);
    targets(&mut out, results, rows);
    writers(&mut out, results, Mix::Realistic, "The writers, realistic points");
    writers(&mut out, results, Mix::Hard, "The writers, hard points");
    parts(&mut out, results);
    yardsticks(&mut out, results);
    out
}

fn targets(out: &mut String, results: &Results, rows: &[Row]) {
    let _ = writeln!(out, "\n| what | target | measured | |\n|---|---|---|---|");
    for row in rows {
        let _ = writeln!(out, "| **{}** | | | |", row.title);
        for target in &row.targets {
            let limit = match target.limit {
                Limit::AtMost(limit) => format!("≤ {}", number(limit)),
                Limit::AtLeast(limit) => format!("≥ {}", number(limit)),
            };
            let spread = results.spread(target.measure);
            let measured = spread.map_or_else(String::new, |spread| measured_text(spread, results.rounds));
            let verdict = match spread {
                None => "not run",
                Some(spread) if target.limit.is_met(spread.median) => "met",
                Some(_) => "**missed**",
            };
            let _ = writeln!(out, "| {} | {limit} | {measured} | {verdict} |", target.what);
        }
    }
}

/// The columns of a writer.
const COLUMNS: [(&str, Figure); 6] = [
    ("CPU s a million", Figure::CpuSeconds),
    ("points/s", Figure::PointsPerSecond),
    ("peak MB", Figure::PeakMegabytes),
    ("disk B/point", Figure::WrittenPerPoint),
    ("body B/point", Figure::BodyPerPoint),
    ("requests a million", Figure::RequestsPerMillion),
];

fn writers(out: &mut String, results: &Results, mix: Mix, title: &str) {
    let entries: Vec<_> = WRITERS.iter().flat_map(|family| settings(results, family, mix)).collect();
    if entries.is_empty() {
        return;
    }
    let names = COLUMNS.map(|(name, _)| name).join(" | ");
    let _ = writeln!(out, "\n{title}:\n\n| writer | {names} |\n|---|{}", "---:|".repeat(COLUMNS.len()));
    for entry in entries {
        let cells = COLUMNS.map(|(_, figure)| entry.spread(figure).map_or_else(String::new, cell(figure)));
        let name = format!("{}, {}", entry.contestant.family, entry.contestant.setting);
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
}

/// Parts of the CPU time, by threads.
const PARTS: [(&str, Figure); 4] = [
    ("push", Figure::CpuPushing),
    ("compress", Figure::CpuSealing),
    ("write to disk", Figure::CpuStoring),
    ("actors, HTTP", Figure::CpuSending),
];

fn parts(out: &mut String, results: &Results) {
    let entries: Vec<_> = WRITERS
        .iter()
        .flat_map(|family| settings(results, family, Mix::Realistic))
        .filter(|entry| entry.spread(Figure::CpuPushing).is_some())
        .collect();
    if entries.is_empty() {
        return;
    }
    let names = PARTS.map(|(name, _)| name).join(" | ");
    let _ = writeln!(
        out,
        "\nWhere the CPU time of influx-spool goes, by threads, realistic points, s a million:\n\n\
         | writer | {names} |\n|---|{}",
        "---:|".repeat(PARTS.len())
    );
    for entry in entries {
        let cells = PARTS.map(|(_, figure)| entry.spread(figure).map_or_else(String::new, spread_text));
        let name = format!("{}, {}", entry.contestant.family, entry.contestant.setting);
        let _ = writeln!(out, "| {name} | {} |", cells.join(" | "));
    }
}

/// The CPU time, which counts, with its spread.
fn cell(figure: Figure) -> impl Fn(Spread) -> String {
    move |spread| {
        if figure == Figure::CpuSeconds { spread_text(spread) } else { number(spread.median) }
    }
}

fn yardsticks(out: &mut String, results: &Results) {
    let chosen = |family: &&str| results.chosen(family, Mix::Realistic, Choice::Fastest);
    let entries: Vec<_> = YARDSTICKS.iter().filter_map(chosen).collect();
    if entries.is_empty() {
        return;
    }
    let _ = writeln!(
        out,
        "\nThe machine, the same points:\n\n| yardstick | CPU s a million | points/s |\n|---|---:|---:|"
    );
    for entry in entries {
        let text = |figure| entry.spread(figure).map_or_else(String::new, spread_text);
        let (cpu, rate) = (text(Figure::CpuSeconds), text(Figure::PointsPerSecond));
        let _ = writeln!(out, "| {} | {cpu} | {rate} |", entry.contestant.family);
    }
}

fn settings<'a>(results: &'a Results, family: &'a str, mix: Mix) -> impl Iterator<Item = &'a Entry> {
    results.entries.iter().filter(move |entry| {
        entry.contestant.family == family && entry.contestant.mix == mix && !entry.rounds.is_empty()
    })
}

fn spread_text(spread: Spread) -> String {
    let Spread { median, min, max, count } = spread;
    if count == 1 {
        return number(median);
    }
    format!("{} ({} … {})", number(median), number(min), number(max))
}

/// Says so where there were fewer rounds than of the others.
fn measured_text(spread: Spread, rounds: usize) -> String {
    let text = spread_text(spread);
    if spread.count == rounds { text } else { format!("{text}, n = {}", spread.count) }
}

/// With three digits that say something, and thousands apart.
pub fn number(value: f64) -> String {
    let places = match value.abs() {
        0.0 => 0,
        size if size < 0.0095 => 4,
        size if size < 9.95 => 2,
        size if size < 99.5 => 1,
        _ => 0,
    };
    let text = format!("{value:.places$}");
    let (whole, fraction) = text.split_once('.').map_or((text.as_str(), None), |(a, b)| (a, Some(b)));
    let mut grouped = String::new();
    for (place, digit) in whole.chars().enumerate() {
        let left = whole.len() - place;
        if place > 0 && left.is_multiple_of(3) && !grouped.ends_with('-') {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    fraction.map_or(grouped.clone(), |fraction| format!("{grouped}.{fraction}"))
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn numbers_have_three_digits_that_say_something() {
        let texts = [0.0, 0.00123, 0.123, 1.234, 12.34, 123.4, 1_234.5, 2_500_000.0, -1_234.0].map(number);
        assert_eq!(texts, ["0", "0.0012", "0.12", "1.23", "12.3", "123", "1,234", "2,500,000", "-1,234"]);
    }
}
