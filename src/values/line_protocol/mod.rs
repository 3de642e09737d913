//! Line protocol: what may be written, how it is written, and what a line that others wrote says.
//!
//! [`lines`](crate::lines) says what all of it follows, for points ([`Encoder::encode`](encoder::Encoder::encode)) and for raw lines
//! ([`Encoder::lines`](encoder::Encoder::lines)) alike.

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
