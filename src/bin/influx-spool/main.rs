//! The program `influx-spool`: writes standard input to an InfluxDB through a spool, looks into spools, and
//! asks the server.
//!
//! Exit codes: 0 when everything is done; 2 when something is left, lost or refused, and the output says what; 1 when
//! nothing could be begun: bad usage, a spool that cannot be opened, a server that does not answer a question. `verify` has
//! codes of its own.

mod args;
mod ask;
mod carry;
mod connection;
mod export;
mod feed;
mod input;
mod inspect;
mod interrupt;
mod output;
mod ping;
mod pipe;
mod progress;
mod query;
mod refusals;
mod replay;
mod rows;
mod salvage;
mod summary;
mod verify;
mod write;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::Parser;
use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};
use crate::progress::Screen;

/// Something is left, lost or refused.
const INCOMPLETE: u8 = 2;

/// Nothing could be begun.
const UNUSABLE: u8 = 1;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // To standard output if it is the help that was asked for, else to standard error.
            let _ = error.print();
            return if error.use_stderr() { unusable() } else { ExitCode::SUCCESS };
        }
    };
    let screen = Screen::new();
    start_logging(&screen);
    let done = match args.command {
        Command::Write(args) => write::run(&args, &screen),
        Command::Inspect(args) => inspect::run(&args),
        Command::Verify(args) => match verify::run(&args) {
            Ok(code) => return code,
            Err(error) => Err(error),
        },
        Command::Salvage(args) => salvage::run(&args),
        Command::Export(args) => export::run(&args),
        Command::Replay(args) => replay::run(&args),
        Command::Query(args) => query::run(&args),
        Command::Ping(args) => ping::run(&args),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => INCOMPLETE.into(),
        Err(error) => {
            screen.say(&format!("influx-spool: {error:#}"));
            unusable()
        }
    }
}

/// What says that nothing could be begun. For `verify` the usual code means something else.
fn unusable() -> ExitCode {
    let is_verify = std::env::args_os().nth(1).is_some_and(|command| command == "verify");
    if is_verify { verify::CANNOT_TELL.into() } else { UNUSABLE.into() }
}

fn start_logging(screen: &Screen) {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("warn"));
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colours).with_writer(screen.clone()).init();
}
