//! An actor-based, supervised store-and-forward writer for InfluxDB, embedded in actix applications.

#[cfg(panic = "abort")]
compile_error!("influx-spool survives panics by unwinding: build with `panic = \"unwind\"`");

mod failpoint;
mod machines;
mod spool;
mod transport;
mod values;

pub use machines::plan::Backlog;
pub use machines::verdict::TroubleKind;
pub use spool::{QuarantineSize, SalvageReport, SpoolError, SpoolErrorKind};
pub use values::batch::{Api, Codec, Consistency, Destination, TimeSpan};
pub use values::config::{
    Auth, BatchConfig, Config, ConfigError, HttpConfig, MissingTimestamp, QueueConfig, SpoolConfig, SpoolFull, SyncMode, WhenFull,
};
pub use values::fate::{Durability, Fate, QuarantineReason, ShedReason, Standing};
pub use values::ledger::{Ledger, Tally};
pub use values::precision::{Precision, Timestamp, UnknownPrecision};
pub use values::seq::{Seq, SeqRange, SpoolTag};
