//! Line protocol: what may be written, how it is written, and what a line that others wrote says.
//!
//! One question rules this module: does every server keep exactly this? InfluxDB 1.x, 2.x and 3.x read
//! the same text differently in a dozen places, and a line that only one of them takes poisons a queue
//! that is replayed until it is accepted. So there is one strict dialect, the part they all agree on, for
//! points ([`Encoder::encode`](encoder::Encoder::encode)) and for raw lines
//! ([`Encoder::lines`](encoder::Encoder::lines)) alike; whatever lies outside is refused with the place
//! and the reason, or falls under one of the [`rules`].
//!
//! ```text
//!  measurement,key=value,key=value field=value,field=value timestamp
//! |--------- the series ----------|------- fields --------|
//! ```
//!
//! What the servers make of a character, and what follows from it:
//!
//! | character | measurement | tag key, tag value | field key | string |
//! |---|---|---|---|---|
//! | `,` space | escaped | escaped | escaped | raw |
//! | `=` | raw | escaped | escaped | raw |
//! | `"` | raw | raw | raw | escaped |
//! | `\` | raw; refused at the end, before `,` space `=` `"` | raw; refused at the end, before `,` space `=` | as measurement | doubled |
//! | `\` before `\` | 3.x makes one of two: see [`Portability`](rules::Portability) | same | same | doubled |
//! | control characters | refused: no server has a spelling for a newline, the rest breaks answers that quote it | same | same | raw |
//! | `#` | refused as the first: the line would be a comment | raw | raw | raw |

mod decode;
mod digits;
pub(crate) mod encode;
pub(crate) mod encoder;
mod keyed;
mod keys;
pub(crate) mod line;
mod name;
mod plain;
pub(crate) mod problem;
pub(crate) mod raw;
pub(crate) mod rules;
pub(crate) mod series;
mod settings;
mod texts;
mod value;

pub(crate) use plain::LINE_BYTES_MAX as PLAIN_BYTES_MAX;
