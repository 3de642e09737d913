//! Pure machines: they take `now` and return a decision.

pub(crate) mod codec;
