//! What a person sees while it runs: one line on the terminal, and messages above it.

use std::io::{self, Write};
use std::time::Duration;

use indicatif::{HumanCount, ProgressBar, ProgressState, ProgressStyle};
use influx_spool::{DatabaseHandle, Fate};
use tracing_subscriber::fmt::MakeWriter;

/// Often enough to look alive, seldom enough to cost nothing.
const REDRAW: Duration = Duration::from_millis(200);

/// Standard error. Messages and the line of progress do not disturb each other.
#[derive(Clone, Debug)]
pub(crate) struct Screen(ProgressBar);

impl Screen {
    pub(crate) fn new() -> Self {
        Self(ProgressBar::hidden())
    }

    /// Writes one line. Nobody there to read it is no reason to end.
    pub(crate) fn say(&self, message: &str) {
        let _ = self.clone().write_all(format!("{message}\n").as_bytes());
    }

    /// Shows how the database is doing, until [`clear`](Self::clear). Only on a terminal.
    pub(crate) fn show(&self, db: &DatabaseHandle) {
        let db = db.clone();
        let before = db.stats().ledger;
        let state = move |_: &ProgressState, out: &mut dyn std::fmt::Write| {
            let (stats, health) = (db.stats(), db.health());
            let accepted = HumanCount(stats.ledger.accepted().points - before.accepted().points);
            let delivered =
                HumanCount(stats.ledger.of(Fate::Delivered).points - before.of(Fate::Delivered).points);
            let pending = HumanCount(stats.pending.points);
            let spooled = HumanCount(stats.pending.spooled.points);
            let _ = write!(
                out,
                "{accepted} accepted, {delivered} delivered, {pending} pending ({spooled} in the spool)"
            );
            if let Some((_, words)) = health.link {
                let _ = write!(out, " | {words}");
            }
        };
        let style = ProgressStyle::with_template("{spinner} {elapsed_precise} {state:.bold}")
            .unwrap_or_else(|_| ProgressStyle::default_spinner())
            .with_key("state", state);
        self.0.set_style(style);
        self.0.set_draw_target(indicatif::ProgressDrawTarget::stderr());
        self.0.enable_steady_tick(REDRAW);
    }

    /// Takes the line away.
    pub(crate) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.suspend(|| io::stderr().write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

impl MakeWriter<'_> for Screen {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
