//! `influx-spool inspect`: what lies in a spool.

use std::fmt::{self, Display};
use std::time::Duration;

use humantime_serde::re::humantime;
use indicatif::{BinaryBytes, HumanCount};
use influx_spool::{Destination, Fate, Inspection};

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
        for batch in &seen.quarantined {
            let (status, words) = (batch.status.unwrap_or_default(), batch.words.as_deref().unwrap_or("-"));
            writeln!(
                f,
                "  {}: points {} to {}, status {status}: {words}",
                batch.id, batch.seqs.first, batch.seqs.last
            )?;
        }
        Ok(())
    }
}

fn row(f: &mut fmt::Formatter<'_>, name: &str, value: &dyn Display) -> fmt::Result {
    writeln!(f, "  {name:<24}{:>15}", value.to_string())
}

fn destination(destination: Option<&Destination>) -> String {
    destination.map_or_else(|| "(unreadable)".into(), |to| to.database.clone())
}
