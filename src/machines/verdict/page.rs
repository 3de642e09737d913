//! The table as users read it: `src/verdicts.md` is checked against the rows.

use std::fmt::Write;

use super::Cause;
use super::said::Speaker;
use super::table::{Means, Phrase, Points, Row, Statuses, TABLE};

const BEGIN: &str = "<!-- table -->\n";
const END: &str = "<!-- end -->\n";

/// `WRITE_DOCUMENTS=1` writes the page instead of complaining.
#[test]
fn the_page_for_users_shows_the_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/src/verdicts.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).unwrap();
    let (_, after) = rest.split_once(END).unwrap();
    let expected = format!("{before}{BEGIN}{}{END}{after}", table());
    if std::env::var_os("WRITE_DOCUMENTS").is_some() {
        std::fs::write(path, expected).unwrap();
    } else {
        assert!(page == expected, "src/verdicts.md is behind the table: write it with WRITE_DOCUMENTS=1");
    }
}

fn table() -> String {
    let mut table = "| row | answer | verdict | why |\n|---|---|---|---|\n".to_owned();
    for row in TABLE {
        let _ = writeln!(table, "| {} | {} | {} | {} |", row.name, answer(row), verdict(row), row.why);
    }
    table
}

fn answer(row: &Row) -> String {
    if !row.failures.is_empty() {
        return "none".into();
    }
    let statuses = match row.statuses {
        Statuses::These(these) => these.iter().map(u16::to_string).collect::<Vec<_>>().join(", "),
        Statuses::Class(hundreds) => format!("any other {hundreds}xx"),
        Statuses::Any => "any other".into(),
    };
    let apis: Vec<String> = row.apis.iter().map(|api| format!("{api:?}").to_lowercase()).collect();
    let on = if apis.is_empty() { String::new() } else { format!(" on {}", apis.join(", ")) };
    let by = if row.by > Speaker::Stranger { " from an InfluxDB" } else { "" };
    let phrases: Vec<String> = row.phrases.iter().map(|phrase| said(*phrase)).collect();
    let says = if phrases.is_empty() { String::new() } else { format!(": {}", phrases.join("; ")) };
    format!("{statuses}{on}{by}{says}")
}

fn said(phrase: Phrase) -> String {
    // Two backticks hold one.
    let code = |text: &str| if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") };
    match phrase {
        Phrase::Is(text) => code(text),
        Phrase::Begins(text) => code(&format!("{text}…")),
        Phrase::BeginsAndHolds(begin, text) => code(&format!("{begin}…{text}…")),
        Phrase::NamesLines => "lines are named".into(),
    }
}

fn verdict(row: &Row) -> String {
    match row.means {
        Means::Delivered => "delivered".into(),
        Means::Hold { kind, may_be_data } => {
            let held = if may_be_data { "held, suspect" } else { "held" };
            let kind = serde_json::to_value(kind).unwrap();
            format!("{held}: `{}`", kind.as_str().unwrap())
        }
        Means::Refused { points: Points::TooMany, .. } => "split".into(),
        Means::Refused { cause, points } => {
            let verdict = if cause == Cause::TooOld { "expired" } else { "refused" };
            let points = match points {
                Points::Named => "the lines named",
                Points::Counted => "as many points as the server counts",
                Points::Some | Points::TooMany => "some points",
            };
            format!("{verdict}: {points}")
        }
    }
}
