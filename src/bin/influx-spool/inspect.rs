//! `influx-spool inspect`: what lies in a spool.

use std::fmt::{self, Display};
use std::time::{Duration, SystemTime};

use humantime_serde::re::humantime;
use indicatif::{BinaryBytes, HumanCount};
use influx_spool::{Destination, Fate, Inspection, QuarantineReason, QuarantinedBatch};

use crate::args::InspectArgs;
use crate::output;

/// Runs the command.
///
/// # Errors
/// The file cannot be looked into.
pub(crate) fn run(args: &InspectArgs) -> anyhow::Result<bool> {
    let inspection = influx_spool::inspect(&args.file)?;
    if args.json {
        output::print(&format!("{}\n", serde_json::to_string(&inspection)?));
    } else {
        output::print(&Table(&inspection).to_string());
    }
    Ok(inspection.adds_up)
}

struct Table<'a>(&'a Inspection);

impl Display for Table<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seen) = self;
        match seen.held_by {
            Some(pid) => row(f, "in use by process", &pid)?,
            None => row(f, "closed cleanly", &if seen.clean_stop { "yes" } else { "no" })?,
        }
        row(f, "unclean ends", &seen.unclean_ends_total)?;
        row(f, "file", &BinaryBytes(seen.file_bytes))?;
        row(f, "write-ahead log", &BinaryBytes(seen.wal_bytes))?;

        f.write_str("\nledger (points)\n")?;
        row(f, "accepted", &HumanCount(seen.ledger.accepted().points))?;
        for fate in Fate::ALL {
            let points = seen.ledger.of(fate).points;
            if points > 0 || fate == Fate::Delivered {
                row(f, fate.key(), &HumanCount(points))?;
            }
        }
        row(f, "pending", &HumanCount(seen.backlog.points))?;
        row(f, "refused", &HumanCount(seen.refused))?;
        if !seen.adds_up {
            f.write_str("  the sums do not agree with the rows\n")?;
        }

        f.write_str("\nbacklog\n")?;
        row(f, "batches", &HumanCount(seen.backlog.batches))?;
        row(f, "bytes of lines", &BinaryBytes(seen.backlog.bytes))?;
        if let Some(seconds) = seen.oldest_age_seconds {
            row(f, "oldest", &humantime::format_duration(Duration::from_secs(seconds)))?;
        }
        for part in &seen.destinations {
            row(f, &destination(part.destination.as_ref()), &HumanCount(part.backlog.points))?;
        }

        f.write_str("\nquarantine\n")?;
        row(f, "batches", &HumanCount(seen.quarantine.batches))?;
        row(f, "bytes", &BinaryBytes(seen.quarantine.bytes))?;
        for part in &seen.quarantine_reasons {
            row(f, reason(part.reason), &format!("{} points", HumanCount(part.size.points)))?;
        }
        let unlisted = seen.quarantine.batches.saturating_sub(seen.quarantined.len() as u64);
        if unlisted > 0 {
            writeln!(f, "  {} older ones, and", HumanCount(unlisted))?;
        }
        seen.quarantined.iter().try_for_each(|batch| quarantined(f, batch))
    }
}

fn quarantined(f: &mut fmt::Formatter<'_>, batch: &QuarantinedBatch) -> fmt::Result {
    let since = u64::try_from(batch.since_ms).unwrap_or(0);
    let since = humantime::format_rfc3339_seconds(SystemTime::UNIX_EPOCH + Duration::from_millis(since));
    let QuarantinedBatch { id, seqs, .. } = batch;
    write!(f, "  {id}: {since} points {} to {}, {}", seqs.first, seqs.last, reason(batch.reason))?;
    if let Some(status) = batch.status {
        write!(f, ", status {status}")?;
    }
    if batch.replays > 0 {
        write!(f, ", replayed {} times", batch.replays)?;
    }
    writeln!(f, ": {}", batch.words.as_deref().unwrap_or("-"))
}

fn reason(reason: Option<QuarantineReason>) -> &'static str {
    reason.map_or("(unreadable)", QuarantineReason::as_str)
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: &dyn Display) -> fmt::Result {
    writeln!(f, "  {name:<24}{:>15}", value.to_string())
}

fn destination(destination: Option<&Destination>) -> String {
    destination.map_or_else(|| "(unreadable)".into(), |to| to.database.clone())
}
