//! `influx-spool verify`: whether a spool is what was written.

use std::process::ExitCode;

use indicatif::HumanCount;
use influx_spool::{Checked, Verification};

use crate::args::VerifyArgs;
use crate::output;

/// Something is wrong with the file.
const DAMAGED: u8 = 1;

/// The exit code of this command where nothing is known of the file, bad usage included.
pub(crate) const CANNOT_TELL: u8 = 2;

/// Runs the command. The exit codes are its own, as those of `cmp`: 0 sound, 1 damaged, 2 cannot tell.
///
/// # Errors
/// The file cannot be looked into.
pub(crate) fn run(args: &VerifyArgs) -> anyhow::Result<ExitCode> {
    let found = influx_spool::verify(&args.file)?;
    if args.json {
        output::print(&format!("{}\n", serde_json::to_string(&found)?));
    } else {
        output::print(&text(&found));
    }
    Ok(if found.sound { ExitCode::SUCCESS } else { DAMAGED.into() })
}

fn text(found: &Verification) -> String {
    let mut text = format!("{}\n", if found.sound { "sound" } else { "damaged" });
    if let Some(pid) = found.held_by {
        text += &format!("  in use by process {pid}\n");
    }
    text += &row("backlog", found.backlog);
    text += &row("quarantine", found.quarantine);
    for problem in &found.problems {
        text += &format!("  {problem}\n");
    }
    if found.more_problems > 0 {
        text += &format!("  and {} more\n", HumanCount(found.more_problems));
    }
    text
}

fn row(name: &str, checked: Checked) -> String {
    let Checked { good_batches, good_points, bad_batches, .. } = checked;
    let (batches, points) = (HumanCount(good_batches), HumanCount(good_points));
    format!("  {name}: {points} points in {batches} batches, {} damaged batches\n", HumanCount(bad_batches))
}
