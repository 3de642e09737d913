//! `influx-spool export`: the points of a spool as line protocol.

use std::io::{self, BufWriter};

use influx_spool::Export;

use crate::args::ExportArgs;
use crate::pipe::UntilClosed;

/// Runs the command. `false` if batches had to be left out because they cannot be read back.
///
/// # Errors
/// The file cannot be looked into, or standard output not be written to.
pub(crate) fn run(args: &ExportArgs) -> anyhow::Result<bool> {
    let what = match args.only_reason {
        Some(reason) => Export::QuarantinedFor(reason),
        None if args.quarantine => Export::Quarantine,
        None => Export::Backlog,
    };
    let mut out = UntilClosed::new(BufWriter::new(io::stdout().lock()));
    let exported = match influx_spool::export(&args.file, what, &mut out) {
        // Whoever reads it, `head` for one, has had enough.
        Err(_) if out.is_closed() => return Ok(true),
        exported => exported?,
    };
    if exported.damaged_batches > 0 {
        eprintln!("influx-spool: {} batches are damaged and were left out", exported.damaged_batches);
    }
    Ok(exported.damaged_batches == 0)
}
