//! What a run came to, for people and for programs.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use indicatif::HumanCount;
use influx_spool::{Fate, Ledger, Pending, Stats};
use serde::Serialize;

use crate::input::End;
use crate::progress::Screen;
use crate::write::Ended;

/// Points by what became of them: `backlog_before + accepted = fates + pending`, and `refused` stands outside.
#[derive(Debug, Serialize)]
pub(crate) struct Summary {
    /// What was taken from the input, and what an earlier run left, is delivered: nothing is pending, lost, set aside or
    /// refused.
    pub(crate) complete: bool,
    /// A signal ended it.
    interrupted: bool,
    /// The input was read to its end.
    input_ended: bool,
    /// The spool was closed in order; without one this is `true`.
    closed: bool,
    /// Lines taken from the input, with blank lines and comments.
    lines: u64,
    seconds: f64,
    /// What an earlier run had left.
    backlog_before: u64,
    accepted: u64,
    refused: u64,
    /// What became of points in this run.
    fates: BTreeMap<&'static str, u64>,
    pending: Pending,
    /// Pending points that are nowhere but in the memory of the process that ends.
    unsaved: u64,
    requests: u64,
    failed_requests: u64,
    /// What was ever accepted by this spool, and what became of it.
    ledger: Ledger,
}

impl Summary {
    pub(crate) fn new(before: &Stats, ended: &Ended, seconds: f64) -> Self {
        let stats = &ended.stats;
        let fates = Fate::ALL.map(|fate| {
            let (now, then) = (stats.ledger.of(fate).points, before.ledger.of(fate).points);
            (fate.key(), now.saturating_sub(then))
        });
        // What went by UDP is as good as it gets.
        let well = [Fate::Delivered.key(), Fate::Unconfirmed.key()];
        let undelivered = fates.iter().any(|(key, points)| !well.contains(key) && *points > 0);
        let failed = matches!(ended.fed.end, End::Failed(_));
        let refused = ended.fed.refused;
        Self {
            // A spool that was not closed may not know what was delivered.
            complete: ended.closed && !failed && refused == 0 && stats.pending.points == 0 && !undelivered,
            interrupted: ended.interrupted,
            input_ended: matches!(ended.fed.end, End::Eof),
            closed: ended.closed,
            lines: ended.fed.lines,
            seconds,
            backlog_before: before.pending.points,
            accepted: stats.ledger.accepted().points - before.ledger.accepted().points,
            refused,
            fates: fates.into(),
            pending: stats.pending,
            unsaved: stats.pending.points - stats.pending.spooled.points,
            requests: stats.requests_total,
            failed_requests: stats.failures_total,
            ledger: stats.ledger.clone(),
        }
    }

    /// One object, on one line.
    pub(crate) fn to_json(&self) -> String {
        // Keys are texts and no value can fail.
        serde_json::to_string(self).map(|json| json + "\n").unwrap_or_default()
    }

    /// A line a number; of what may be amiss, only what is.
    pub(crate) fn to_table(&self) -> String {
        let mut table = String::new();
        let mut row = |name: &str, points: u64, always: bool| {
            if always || points > 0 {
                let _ = writeln!(table, "{name:<24}{:>15}", HumanCount(points).to_string());
            }
        };
        row("lines read", self.lines, true);
        row("backlog before", self.backlog_before, false);
        row("accepted", self.accepted, true);
        for (fate, points) in &self.fates {
            row(fate, *points, *fate == Fate::Delivered.key());
        }
        row("pending", self.pending.points, true);
        row("refused", self.refused, true);
        let rate = self.fates.get(Fate::Delivered.key()).map_or(0.0, |points| *points as f64 / self.seconds);
        let _ = writeln!(
            table,
            "in {:.2} s, {rate:.0} points/s delivered, {} requests, {} of them failed",
            self.seconds, self.requests, self.failed_requests
        );
        table
    }

    /// Says what is left and where.
    pub(crate) fn remark(&self, spool: Option<&Path>, screen: &Screen) {
        let stored = self.pending.spooled.points;
        if let Some(file) = spool.filter(|_| stored > 0) {
            let file = file.display();
            screen
                .say(&format!("{stored} points are left in {file}: run again with this spool to send them"));
        }
        if self.unsaved > 0 {
            screen.say(&format!("{} points were neither delivered nor stored, and are lost", self.unsaved));
        }
        if self.interrupted && !self.input_ended {
            screen.say(&format!("the first {} lines of the input were taken", self.lines));
        }
    }
}
