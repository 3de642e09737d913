//! An actor-based, supervised store-and-forward writer for InfluxDB, embedded in actix applications.

#[cfg(panic = "abort")]
compile_error!("influx-spool survives panics by unwinding: build with `panic = \"unwind\"`");

mod failpoint;
mod machines;
#[allow(dead_code, reason = "until the store uses all of it")]
mod spool;
mod values;

#[doc(hidden)]
pub use spool::SpoolBench;
pub use spool::{
    Backlog, DestinationBacklog, Export, Exported, Inspection, QuarantineSize, QuarantinedBatch,
    SalvageReport, SpoolError, SpoolErrorKind, SpoolFull, SyncMode, export, inspect,
};
pub use values::batch::{Api, Codec, Consistency, Destination, TimeSpan};
pub use values::fate::{Durability, Fate, QuarantineReason, ShedReason, Standing};
pub use values::ledger::{Ledger, Tally};
pub use values::precision::{Precision, Timestamp, UnknownPrecision};
pub use values::seq::{Seq, SeqRange, SpoolTag};
