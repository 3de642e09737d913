//! What the command line may say.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Parser, Subcommand, ValueEnum};
use humantime_serde::re::humantime;
use influx_spool::{Precision, QuarantineReason, SyncMode, UnknownPrecision};

use crate::connection::ConnectionArgs;

/// Store-and-forward writer for InfluxDB.
///
/// Exit codes: 0 everything is done; 2 something is pending, lost or refused; 1 bad usage, or nothing could be begun. Of
/// verify: 0 sound, 1 damaged, 2 cannot tell.
#[derive(Debug, Parser)]
#[command(version)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    Write(WriteArgs),
    Inspect(InspectArgs),
    Verify(VerifyArgs),
    Salvage(SalvageArgs),
    Export(ExportArgs),
    Replay(ReplayArgs),
    Query(QueryArgs),
    Ping(PingArgs),
}

/// Write standard input to a database, and wait until it is there.
///
/// Reads no faster than the points can be kept, so none is dropped for want of room. What an earlier run left in the
/// spool is sent first. SIGINT and SIGTERM stop the reading; what was read is put into the spool, and what is left is
/// said. A second signal ends the program at once.
#[derive(Debug, Parser)]
pub(crate) struct WriteArgs {
    /// The retention policy [default: the database's own default policy].
    #[arg(long, visible_alias = "rp", value_name = "POLICY")]
    pub(crate) retention_policy: Option<String>,
    /// Create the database if it is missing (v1).
    #[arg(long)]
    pub(crate) create_database: bool,
    /// Send by UDP to this listener of the server, and by HTTP only what UDP cannot carry: lines that are too long, and
    /// everything while nobody listens. The listener belongs to one database and has one precision; both have to be those
    /// given here.
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) udp: Option<String>,
    /// Send nothing by HTTP: lines that are too long are set aside, and the rest waits while nobody listens.
    #[arg(long, requires = "udp")]
    pub(crate) udp_only: bool,
    /// The file that keeps what is not delivered [default: none; what is not delivered is lost at the end].
    #[arg(long, value_name = "FILE")]
    pub(crate) spool: Option<PathBuf>,
    /// What standard input holds: line protocol, or one JSON point a line.
    #[arg(long, value_enum, default_value_t = Format::Line)]
    pub(crate) format: Format,
    /// The unit of timestamps: ns, us, ms or s. Coarser than ns, points without a timestamp are refused: stamps given
    /// here would collide.
    #[arg(long, default_value_t, value_name = "UNIT")]
    pub(crate) precision: Precision,
    /// Points in one request at most [default: 5000].
    #[arg(long, value_name = "N")]
    pub(crate) batch_points: Option<NonZeroUsize>,
    /// Whether bodies are compressed.
    #[arg(long, value_enum, default_value_t = Switch::On)]
    pub(crate) gzip: Switch,
    /// How long a point may be only in memory and undelivered [default: 1s]. 0s stores every batch before it is sent.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION", requires = "spool")]
    pub(crate) loss_window: Option<Duration>,
    /// What a stored point survives: a power cut (full), or a kill of the process (normal).
    #[arg(long, value_enum, default_value_t = Sync::Full, requires = "spool")]
    pub(crate) sync: Sync,
    /// How long to wait for delivery once the input has ended. Storing what is left may take up to two seconds more; what a
    /// disk has not taken by then is lost.
    #[arg(long, value_parser = humantime::parse_duration, value_name = "DURATION", default_value = "60s")]
    pub(crate) deadline: Duration,
    /// Print the ledger as one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// Show what lies in a spool, also while another process owns it.
#[derive(Debug, Parser)]
pub(crate) struct InspectArgs {
    /// The spool's file.
    pub(crate) file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Read a spool from end to end and say whether it is what was written, also while another process owns it.
///
/// Nothing is changed. Exit codes: 0 sound, 1 damaged, 2 cannot tell: no such file, or no spool.
#[derive(Debug, Parser)]
pub(crate) struct VerifyArgs {
    /// The spool's file.
    pub(crate) file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Set a damaged spool aside and put everything that can be read of it into a fresh one.
///
/// What the next start does by itself with damage that it finds; this looks at everything. The spool must not be in use.
/// Nothing is deleted, and a sound spool is left as it is. Exit codes: 0 no point is lost; 2 some are, or nobody can know;
/// 1 it was not done.
#[derive(Debug, Parser)]
pub(crate) struct SalvageArgs {
    /// The spool's file.
    pub(crate) file: PathBuf,
    /// Print one JSON object, or null for a sound spool.
    #[arg(long)]
    pub(crate) json: bool,
}

/// Print the undelivered points of a spool as line protocol. Nothing is changed.
#[derive(Debug, Parser)]
pub(crate) struct ExportArgs {
    /// The spool's file.
    pub(crate) file: PathBuf,
    /// Print what is in quarantine instead.
    #[arg(long)]
    pub(crate) quarantine: bool,
    /// Only what is there for this reason.
    #[arg(long, value_parser = reason_parser(), value_name = "REASON", requires = "quarantine")]
    pub(crate) only_reason: Option<QuarantineReason>,
}

/// Take batches back from quarantine, once what they were refused for is mended.
///
/// The spool must not be in use. Nothing is sent yet: whatever next writes through the spool sends them first, be it
/// `influx-spool write` without any input.
#[derive(Debug, Parser)]
pub(crate) struct ReplayArgs {
    /// The spool's file.
    pub(crate) file: PathBuf,
    /// What is in quarantine. There is nothing else to replay, so this may be left out.
    #[arg(long)]
    pub(crate) quarantine: bool,
    /// Only what is there for this reason.
    #[arg(long, value_parser = reason_parser(), value_name = "REASON")]
    pub(crate) only_reason: Option<QuarantineReason>,
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
}

fn reason_parser() -> impl TypedValueParser<Value = QuarantineReason> {
    let words = QuarantineReason::ALL.map(QuarantineReason::as_str);
    PossibleValuesParser::new(words).try_map(|word| {
        let mut reasons = QuarantineReason::ALL.into_iter();
        reasons.find(|reason| reason.as_str() == word).ok_or("no such reason")
    })
}

/// Ask the server, and print the rows as they come.
///
/// In InfluxQL (v1), Flux (v2) or SQL (v3). Exits with 1 if the question is not answered to its end; what came until
/// then is printed.
#[derive(Debug, Parser)]
pub(crate) struct QueryArgs {
    /// The question.
    pub(crate) question: String,
    /// What it is written in [default: what suits --api].
    #[arg(long, value_enum)]
    pub(crate) language: Option<Language>,
    /// Let InfluxQL statements change something, such as CREATE DATABASE.
    #[arg(long)]
    pub(crate) post: bool,
    /// The retention policy that InfluxQL asks [default: the database's own default policy].
    #[arg(long, visible_alias = "rp", value_name = "POLICY")]
    pub(crate) retention_policy: Option<String>,
    /// How InfluxQL writes times: rfc3339, or a number of ns, us, ms or s.
    #[arg(long, default_value = "rfc3339", value_name = "FORM")]
    pub(crate) time: TimeFormat,
    /// What is printed: a table, CSV, or one JSON object a line.
    #[arg(long, value_enum, default_value_t = RowFormat::Table)]
    pub(crate) format: RowFormat,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

/// See whether the server is there, and which it is.
#[derive(Debug, Parser)]
pub(crate) struct PingArgs {
    /// Print one JSON object.
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) connection: ConnectionArgs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Influxql,
    Flux,
    Sql,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum RowFormat {
    Table,
    Csv,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeFormat {
    Rfc3339,
    Unit(Precision),
}

impl FromStr for TimeFormat {
    type Err = UnknownPrecision;

    fn from_str(word: &str) -> Result<Self, UnknownPrecision> {
        if word == "rfc3339" { Ok(Self::Rfc3339) } else { word.parse().map(Self::Unit) }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    Line,
    Json,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Switch {
    On,
    Off,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Sync {
    Full,
    Normal,
}

impl From<Sync> for SyncMode {
    fn from(sync: Sync) -> Self {
        match sync {
            Sync::Full => Self::Full,
            Sync::Normal => Self::Normal,
        }
    }
}
