//! `influx-spool export`: the points of a spool as line protocol.

use std::io::{self, BufWriter, Write};

use influx_spool::Export;

use crate::args::ExportArgs;

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
    let mut out = UntilClosed { out: BufWriter::new(io::stdout().lock()), closed: false };
    let exported = match influx_spool::export(&args.file, what, &mut out) {
        // Whoever reads it, `head` for one, has had enough.
        Err(_) if out.closed => return Ok(true),
        exported => exported?,
    };
    if exported.damaged_batches > 0 {
        eprintln!("influx-spool: {} batches are damaged and were left out", exported.damaged_batches);
    }
    Ok(exported.damaged_batches == 0)
}

/// Remembers that the other end of a pipe was closed.
struct UntilClosed<W> {
    out: W,
    closed: bool,
}

impl<W> UntilClosed<W> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.closed |= result.as_ref().is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl<W: Write> Write for UntilClosed<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes);
        self.note(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        let flushed = self.out.flush();
        self.note(flushed)
    }
}
