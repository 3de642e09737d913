//! An actor-based, supervised store-and-forward writer for InfluxDB, embedded in actix applications.

#[cfg(panic = "abort")]
compile_error!("influx-spool survives panics by unwinding: build with `panic = \"unwind\"`");

mod actors;
mod failpoint;
mod machines;
mod values;

pub use actors::child::{ChildSpec, ChildState, ChildStatus};
pub use actors::context::PriorityContext;
pub use actors::mailbox::MailboxOptions;
pub use actors::supervisor::{StopReason, Stopped, Supervisor, SupervisorEvent, SupervisorHandle};
pub use machines::policy::{Exit, Restart, Strategy, WhenExceeded};
pub use machines::restart::RestartIntensity;
pub use values::batch::{Api, Codec, Consistency, Destination, TimeSpan};
pub use values::fate::{Durability, Fate, QuarantineReason, ShedReason, Standing};
pub use values::ledger::{Ledger, Tally};
pub use values::precision::{Precision, Timestamp, UnknownPrecision};
pub use values::seq::{Seq, SeqRange, SpoolTag};
