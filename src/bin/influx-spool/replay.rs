//! `influx-spool replay`: quarantined batches are to be sent again.

use indicatif::HumanCount;

use crate::args::ReplayArgs;
use crate::output;

/// Runs the command. `false` if batches were damaged, or had to stay.
///
/// # Errors
/// The spool is in use, or cannot be written.
pub(crate) fn run(args: &ReplayArgs) -> anyhow::Result<bool> {
    let report = influx_spool::replay(&args.file, args.only_reason)?;
    if args.json {
        output::print(&format!("{}\n", serde_json::to_string(&report)?));
    } else {
        let (batches, points) = (HumanCount(report.batches), HumanCount(report.points));
        output::print(&format!("pending again: {points} points in {batches} batches\n"));
    }
    if report.damaged_points > 0 {
        eprintln!("influx-spool: {} points are damaged and were given up", HumanCount(report.damaged_points));
    }
    if report.is_short_of_room {
        eprintln!("influx-spool: the disk is full: the rest stays in quarantine");
    }
    Ok(report.damaged_points == 0 && !report.is_short_of_room)
}
