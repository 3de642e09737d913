//! The words of supervision: how a child ends, and what then becomes of it and of the others.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Why a child ended.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Exit {
    /// It stopped by itself, or properly when told to.
    Normal,
    /// It panicked: in a handler, a future, a hook, its factory or its destructor. Holds the panic's text.
    Panicked(Arc<str>),
    /// It was alive and did not move, and was killed for that.
    Stuck,
    /// It was killed: it did not stop within its shutdown time, or its thread ended.
    Killed,
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Normal => f.write_str("normal"),
            Self::Panicked(text) => write!(f, "panicked: {text}"),
            Self::Stuck => f.write_str("stuck"),
            Self::Killed => f.write_str("killed"),
        }
    }
}

/// Which exits of a child are followed by a restart.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Restart {
    /// All of them.
    #[default]
    Permanent,
    /// All but the normal one.
    Transient,
    /// None.
    Temporary,
}

impl Restart {
    /// Is this exit followed by a restart?
    pub(crate) fn follows(self, exit: &Exit) -> bool {
        match self {
            Self::Permanent => true,
            Self::Transient => *exit != Exit::Normal,
            Self::Temporary => false,
        }
    }
}

/// Whom a child's restart takes along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Strategy {
    /// Nobody.
    #[default]
    OneForOne,
    /// The children started after it, which are taken to depend on it: they are stopped, last one first, and
    /// started again after it, in order. Temporary ones are not started again.
    RestForOne,
}

/// What happens when the restart intensity is used up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenExceeded {
    /// All children are stopped in reverse order, and the supervisor ends.
    #[default]
    Escalate,
    /// All children are stopped in reverse order, and started again after this time. Until they have held for the
    /// span of the intensity the supervisor is degraded.
    RetryEvery(Duration),
}
