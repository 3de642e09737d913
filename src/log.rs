//! Log lines. As tracing's macros, but that what a subscriber of the application panics with stays its own: it costs that
//! line, and neither an actor, nor a batch in work, nor the caller of a push.

use crate::panics::caught;

/// Runs what writes a line.
pub(crate) fn guarded(write: impl FnOnce()) {
    // There is nobody to tell: telling is what failed.
    let _ = caught(write);
}

macro_rules! error {
    ($($line:tt)*) => { $crate::log::guarded(|| ::tracing::error!($($line)*)) };
}
macro_rules! warning {
    ($($line:tt)*) => { $crate::log::guarded(|| ::tracing::warn!($($line)*)) };
}
macro_rules! info {
    ($($line:tt)*) => { $crate::log::guarded(|| ::tracing::info!($($line)*)) };
}
macro_rules! debug {
    ($($line:tt)*) => { $crate::log::guarded(|| ::tracing::debug!($($line)*)) };
}
// `warn` alone is an attribute of the compiler's.
pub(crate) use {debug, error, info, warning as warn};
