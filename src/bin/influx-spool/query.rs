//! `influx-spool query`: ask the server, print rows.

use std::io::{self, BufWriter, StdoutLock};

use anyhow::{Context, bail};
use influx_spool::Client;
use influx_spool::query::{Epoch, InfluxQl, Row, Series, Statement, V3Query};

use crate::args::{Language, QueryArgs, TimeFormat};
use crate::ask;
use crate::connection::ApiName;
use crate::pipe::UntilClosed;
use crate::rows::Rows;

type Out = Rows<UntilClosed<BufWriter<StdoutLock<'static>>>>;

/// Runs the command.
///
/// # Errors
/// The question was not answered, or standard output cannot be written to.
pub(crate) fn run(args: &QueryArgs) -> anyhow::Result<bool> {
    let client = args.connection.client()?;
    let mut rows = Rows::new(args.format, UntilClosed::new(BufWriter::new(io::stdout().lock())));
    let asked = ask::run(ask_and_print(args, &client, &mut rows));
    // What has come is printed, also when the rest did not.
    let printed = rows.finish();
    if rows.out().is_closed() {
        // Whoever reads it, `head` for one, has had enough.
        return Ok(true);
    }
    asked.context("query")?;
    printed?;
    Ok(true)
}

async fn ask_and_print(args: &QueryArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    match args.language.unwrap_or_else(|| usual_language(args.connection.api)) {
        Language::Influxql => influxql(args, client, out).await,
        Language::Flux => {
            let mut rows = client.flux_rows(&args.question).await?;
            while let Some(row) = rows.next().await {
                out.put("", &row?)?;
            }
            Ok(())
        }
        Language::Sql => {
            let mut rows = client.sql_rows(V3Query::sql(&args.question)).await?;
            while let Some(row) = rows.next().await {
                out.put("", &row?)?;
            }
            Ok(())
        }
    }
}

async fn influxql(args: &QueryArgs, client: &Client, out: &mut Out) -> anyhow::Result<()> {
    // 1.x does what it is told by GET, too, with no more than a warning.
    if !args.post && !only_asks(&args.question) {
        bail!("this may change something: say so with --post");
    }
    let epoch = match args.time {
        TimeFormat::Rfc3339 => Epoch::Rfc3339,
        TimeFormat::Unit(precision) => Epoch::Units(precision),
    };
    let mut question = InfluxQl::new(&args.question).epoch(epoch);
    if let Some(policy) = &args.retention_policy {
        question = question.retention_policy(policy);
    }
    if args.post {
        return client.post(question).await?.statements.iter().try_for_each(|statement| put(statement, out));
    }
    let mut chunks = client.query_chunks(question).await?;
    while let Some(statement) = chunks.next().await {
        put(&statement?, out)?;
    }
    Ok(())
}

fn put(statement: &Statement, out: &mut Out) -> anyhow::Result<()> {
    for message in &statement.messages {
        eprintln!("influx-spool: {}: {}", message.level, message.text);
    }
    let rows =
        |series: &Series, out: &mut Out| series.iter().try_for_each(|row: Row| out.put(&series.name, &row));
    statement.series.iter().try_for_each(|series| rows(series, out))?;
    Ok(())
}

/// What a server of this interface understands best.
const fn usual_language(api: ApiName) -> Language {
    match api {
        ApiName::V1 => Language::Influxql,
        ApiName::V2 => Language::Flux,
        ApiName::V3 => Language::Sql,
    }
}

/// Whether every statement begins as one that changes nothing does. A semicolon within a string makes this stricter than it
/// need be.
fn only_asks(question: &str) -> bool {
    let asks = |statement: &str| {
        let mut words = statement.split_whitespace().map(str::to_ascii_uppercase);
        let first = words.next();
        let into = words.any(|word| word == "INTO");
        first.is_none_or(|word| matches!(word.as_str(), "SELECT" | "SHOW" | "EXPLAIN")) && !into
    };
    question.split(';').all(asks)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_changes_something_is_told_from_what_asks() {
        for asks in ["select * from m", "SHOW DATABASES; SELECT 1 FROM m;", " explain SELECT v FROM m"] {
            assert!(only_asks(asks), "{asks}");
        }
        for changes in ["DROP MEASUREMENT m", "SELECT * INTO n FROM m", "show databases; drop database d"] {
            assert!(!only_asks(changes), "{changes}");
        }
    }
}
