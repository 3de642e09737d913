//! `influx-spool ping`: is the server there?

use std::time::Duration;

use anyhow::Context;
use influx_spool::query::Pong;

use crate::args::PingArgs;
use crate::{ask, output};

/// Runs the command.
///
/// # Errors
/// The server did not answer.
pub(crate) fn run(args: &PingArgs) -> anyhow::Result<bool> {
    let client = args.connection.client()?;
    let pong = ask::run(async { client.ping().await.context("ping") })?;
    output::print(&if args.json { format!("{}\n", serde_json::to_string(&pong)?) } else { line(&pong) });
    Ok(true)
}

fn line(pong: &Pong) -> String {
    let version = pong.version.as_deref().unwrap_or("unknown version");
    let build = pong.build.as_ref().map(|build| format!(" ({build})")).unwrap_or_default();
    // Microseconds are as exact as such a measurement is.
    let micros = u64::try_from(pong.round_trip.as_micros()).unwrap_or(u64::MAX);
    format!("{version}{build} answered after {:?}\n", Duration::from_micros(micros))
}
