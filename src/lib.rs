//! An actor-based, supervised store-and-forward writer for InfluxDB 1.x, 2.x and 3.x, embedded in actix applications.
//!
//! ```
//! use influx_spool::{Database, Point};
//! let plant = Database::builder("plant").http("http://localhost:8086").start()?;
//! let seq = plant.push(Point::new("cpu").tag("host", "a").field("usage", 0.5))?;
//! assert_eq!(seq.number(), 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Where to look
//!
//! | for | see |
//! |---|---|
//! | starting | [`Database::builder`], [`DatabaseBuilder`], [`Config`] and its sections, [`StartError`] |
//! | the server | [`HttpConfig`]: [`Auth`], [`Secret`], [`TlsConfig`], [`Proxy`]; [`Api`]; [`UdpConfig`] |
//! | a running database | [`DatabaseHandle`], [`Registry`] finds one by name |
//! | pushing | [`Point`], [`PointRef`], [`Series`], raw lines by [`DatabaseHandle::push_line`]; [`PushError`], [`PushReport`]; elsewhere by [`DatabaseHandle::push_to`], [`PushDestination`] |
//! | how points become lines | [`LineRules`], [`Precision`], [`Encoder`] |
//! | what became of a point | [`Seq`], [`Standing`], [`Fate`]; [`DatabaseHandle::persisted`], [`DatabaseHandle::delivered`] |
//! | counters and health | [`Stats`], [`Ledger`], [`Health`], [`Events`], `web` with the feature of that name |
//! | the end | [`DatabaseHandle::flush`], [`DatabaseHandle::stop`], [`StopReport`] |
//! | messages instead of methods | [`Database`] as an actor: [`Push`], [`Flush`], … |
//! | what a server's answer means | [`verdicts`], [`TroubleKind`] |
//! | which faults are survived | [`faults`] |
//! | points that a server refuses | [`QuarantineReason`], [`DatabaseHandle::replay`], [`replay`] without a running database |
//! | asking and managing the server | [`DatabaseHandle::client`], [`Client`], [`query`] |
//! | a spool's file | [`inspect`], [`export`], [`replay`], [`verify`], [`salvage`], [`SpoolError`] |
//! | actors of your own | [`PriorityContext`], [`Supervisor`], [`ChildSpec`] |
//!
//! The [README](https://docs.rs/crate/influx-spool) tells what is promised and how a point travels.
//!
//! # Features
//!
//! None is on by default: `cli` builds the program, `web` adds routes for actix-web, `failpoints` is for tests only.
//!
//! # Panics
//!
//! Nothing in here panics for anything that a network, a disk or a caller can do, unless its documentation says so
//! under this heading. A panic of the crate's own actors is caught and ends in a restart.

#[cfg(panic = "abort")]
compile_error!("influx-spool survives panics by unwinding: build with `panic = \"unwind\"`");

mod actors;
mod faces;
mod failpoint;
mod log;
mod machines;
mod panics;
pub mod query;
mod spool;
mod transport;
mod values;

pub use actors::child::{ChildSpec, ChildState, ChildStatus};
pub use actors::context::PriorityContext;
pub use actors::database::Database;
pub use actors::mailbox::MailboxOptions;
pub use actors::messages::{
    Await, Commit, Flush, FlushReport, GetHealth, GetStats, Push, PushLines, Reconfigure, Stage, Stop,
};
pub use actors::stop::StopReport;
pub use actors::supervisor::{StopReason, Stopped, Supervisor, SupervisorEvent, SupervisorHandle};
pub use faces::builder::{DatabaseBuilder, StartError};
pub use faces::events::{Events, Told};
pub use faces::handle::{DatabaseHandle, PushDestination, ReconfigureError};
pub use faces::registry::Registry;
pub use faces::series::SeriesPusher;
#[cfg(feature = "web")]
pub use faces::web;
pub use machines::policy::{Exit, Restart, Strategy, WhenExceeded};
pub use machines::restart::RestartIntensity;
pub use query::{Client, QueryError};
#[doc(hidden)]
pub use spool::SpoolBench;
pub use spool::{
    Checked, DestinationBacklog, Export, Exported, Inspection, QuarantineSize, QuarantinedBatch,
    ReasonQuarantine, ReplayReport, SalvageReport, SpoolError, SpoolErrorKind, Verification, export, inspect,
    replay, salvage, verify,
};
pub use values::batch::{Api, Codec, Consistency, Destination, TimeSpan};
pub use values::config::{
    Auth, BatchConfig, Compression, Config, ConfigError, HttpConfig, MissingTimestamp, PageSize, Proxy,
    QueueConfig, Secret, SpoolConfig, SpoolFull, SyncMode, TlsConfig, UdpConfig, WhenFull,
};
pub use values::error::{CallError, PushError, PushReason, PushReport, RefusedItem, RefusedReason};
pub use values::fate::{Durability, Fate, QuarantineReason, ShedReason, Standing};
pub use values::health::{Event, Health, Pending, SpoolHealth, Stats};
pub use values::ledger::{Backlog, Ledger, Tally};
pub use values::line_protocol::encoder::{Encoded, Encoder};
pub use values::line_protocol::line::{Line, Lines};
pub use values::line_protocol::problem::{LineError, Place, PointError, Problem};
pub use values::line_protocol::rules::{LineRules, Portability, SubPrecision, Unsigned, Unwritable};
pub use values::line_protocol::series::{
    Dynamic, FieldKind, FieldValues, PreparedSeries, Series, SeriesBuilder, Values,
};
pub use values::point::{FieldRef, FieldType, FieldValue, Point, PointRef};
pub use values::precision::{Precision, Timestamp, UnknownPrecision};
pub use values::seq::{Seq, SeqRange, SpoolTag};
pub use values::trouble::TroubleKind;

#[doc = include_str!("faults.md")]
pub mod faults {}

#[doc = include_str!("verdicts.md")]
pub mod verdicts {}

#[doc = include_str!("lines.md")]
pub mod lines {}

/// The README's examples, compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
pub struct Readme;
