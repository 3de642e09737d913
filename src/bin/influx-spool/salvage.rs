//! `influx-spool salvage`: a damaged spool is set aside, and what can be read of it goes on.

use indicatif::HumanCount;

use crate::args::SalvageArgs;
use crate::output;

/// Runs the command. `false` if points are lost, or nobody can know whether some are.
///
/// # Errors
/// The spool is in use, is none, or cannot be written.
pub(crate) fn run(args: &SalvageArgs) -> anyhow::Result<bool> {
    let report = influx_spool::salvage(&args.file)?;
    if args.json {
        output::print(&format!("{}\n", serde_json::to_string(&report)?));
        return Ok(report.is_none_or(|report| report.damaged_points == Some(0)));
    }
    let Some(report) = report else {
        output::print("sound: nothing was changed\n");
        return Ok(true);
    };
    let (batches, points) = (HumanCount(report.batches), HumanCount(report.points));
    output::print(&format!(
        "set aside: {}\nread back: {points} points in {batches} batches, and {} batches in quarantine\n",
        report.set_aside.display(),
        HumanCount(report.quarantine_batches),
    ));
    output::print(&match report.damaged_points {
        Some(damaged) => format!("damaged: {} points\n", HumanCount(damaged)),
        None => "damaged: nobody can know, the ledger was among what was lost\n".into(),
    });
    Ok(report.damaged_points == Some(0))
}
