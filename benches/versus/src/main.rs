//! influx-spool beside what others would use instead, on the same points, in one run. `benches/README.md` says what is
//! measured, and how.
//!
//! The program starts itself again: as the sink, and for every measured run.

mod contestants;
mod figures;
mod job;
mod lines;
mod machine;
mod micro;
mod options;
mod plot;
mod rounds;
mod rows;
mod scenes;
mod sink;
mod table;
mod usage;
mod writers;
mod yardsticks;

use std::fs;
use std::path::Path;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};

use crate::contestants::Contestant;
use crate::job::Job;
use crate::lines::Mix;
use crate::machine::Ticks;
use crate::options::Options;
use crate::sink::{Clock, Sink};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\n{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &[String]) -> Result<()> {
    match arguments.first().map(String::as_str) {
        Some("sink") if arguments.iter().any(|argument| argument == "--clock") => sink::serve(Clock::Read),
        Some("sink") => sink::serve(Clock::Ignored),
        Some("work") => work(&arguments[1..]),
        _ => compare(&Options::parse(arguments)?),
    }
}

/// Does one job, and prints its figures.
fn work(arguments: &[String]) -> Result<()> {
    let [job, sink, dir] = arguments else { bail!("work: a job, a sink, a folder") };
    let job: Job = serde_json::from_str(job).context("read the job")?;
    let sink: Sink = serde_json::from_str(sink).context("read the sink")?;
    println!("{}", serde_json::to_string(&job.work(&sink, Path::new(dir))?)?);
    Ok(())
}

/// Runs everybody, and prints the tables.
fn compare(options: &Options) -> Result<()> {
    let rows: Vec<_> =
        rows::all().into_iter().filter(|row| row.names().any(|name| options.selects(name))).collect();
    let needed: Vec<_> = rows.iter().flat_map(|row| row.families().collect::<Vec<_>>()).collect();
    let is_needed = |one: &Contestant| one.mix == Mix::Realistic && needed.contains(&one.family);
    let contestants = contestants::all(options.size)
        .into_iter()
        .filter(|contestant| is_needed(contestant) || options.selects(contestant.family))
        .filter(|contestant| {
            contestant.family != contestants::VMAGENT || writers::vmagent::version().is_some()
        })
        .collect();
    let begin = Ticks::now();
    let results = rounds::run(contestants, options.rounds, &options.dir)?;
    let tables = table::markdown(&results, &rows, &options.dir, begin);
    println!("{tables}");
    if options.write { write(&tables, plot::svg(&results)) } else { Ok(()) }
}

/// Puts the results where the documents show them.
fn write(tables: &str, plot: Option<String>) -> Result<()> {
    let benches = Path::new(env!("CARGO_MANIFEST_DIR")).parent().context("find benches")?;
    let page = format!(
        "# What was measured\n\nWritten by `benches/versus/run --write`; [README.md](README.md) says what it means.\n\n\
         ![CPU time of each writer](results.svg)\n\n{tables}"
    );
    fs::write(benches.join("results.md"), page)?;
    plot.map_or(Ok(()), |plot| fs::write(benches.join("results.svg"), plot))?;
    Ok(())
}
