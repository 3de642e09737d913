//! Why the spool could not do what it was asked.

use std::error::Error as StdError;
use std::path::Path;
use std::{fmt, io};

use rusqlite::ErrorCode;

/// Why a spool could not be opened, read or written.
///
/// Nothing was changed by what failed, with one exception: after an [`SpoolErrorKind::Io`] in a commit only the next
/// open can tell whether it happened. Displayed it fits after "failed to": `open /var/lib/plant.db: in use by process 4711`.
///
/// ```
/// let error = influx_spool::inspect("no-such.db").unwrap_err();
/// assert!(error.is_retryable());
/// assert!(error.to_string().contains("no-such.db: input or output failed"), "{error}");
/// ```
#[derive(Debug)]
pub struct SpoolError {
    kind: SpoolErrorKind,
    during: String,
    source: Option<Box<dyn StdError + Send + Sync>>,
}

/// The causes a caller can tell apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum SpoolErrorKind {
    /// Another owner has the file open: another process, or another database of this one.
    Locked {
        /// The holder, if it could be learnt.
        pid: Option<u32>,
    },
    /// The file was written by a newer version of this crate. It was not touched.
    NewerSchema {
        /// The version of the file.
        found: u32,
        /// The newest version this crate knows.
        known: u32,
    },
    /// The file is something else than a spool. It was not touched.
    NotASpool,
    /// The file's pages are so large that no batch finds room in `bytes_max` of them. It was not touched.
    TooSmall {
        /// What `bytes_max` has to be at the least, for this file.
        bytes_max_min: u64,
    },
    /// The disk is full.
    DiskFull,
    /// Reading or writing failed. The spool must be opened again.
    Io,
    /// The file is damaged. The next open sets it aside and salvages what can be read.
    Damaged,
    /// Another program holds a lock on the file.
    Busy,
    /// The file was deleted or replaced while it was in use. What it held was saved; the spool is opened again.
    Displaced,
    /// Another spool lies in the place of the one that was in use. It was not touched: it has to be moved out of the way.
    AnotherSpool,
    /// What was asked does not follow what is stored: a commit out of turn, or a number twice.
    OutOfStep,
    /// All 2^63 numbers are used up.
    Exhausted,
}

impl SpoolError {
    pub(crate) fn new(kind: SpoolErrorKind, during: impl Into<String>) -> Self {
        Self { kind, during: during.into(), source: None }
    }

    pub(crate) fn io(during: impl Into<String>, error: io::Error) -> Self {
        let kind = match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => SpoolErrorKind::DiskFull,
            _ => SpoolErrorKind::Io,
        };
        Self { kind, during: during.into(), source: Some(Box::new(error)) }
    }

    pub(crate) fn sql(during: impl Into<String>, error: rusqlite::Error) -> Self {
        Self { kind: kind_of(&error), during: during.into(), source: Some(Box::new(error)) }
    }

    /// The same, with the room there is and the room it takes.
    pub(crate) fn for_want_of_room(self, folder: &Path, free: u64, needed: u64) -> Self {
        let found = self.source.map(|source| format!("; {source}")).unwrap_or_default();
        let words = format!(
            "{free} bytes are free in {}, and {needed} are enough in any case: make room there{found}",
            folder.display()
        );
        Self { kind: SpoolErrorKind::DiskFull, during: self.during, source: Some(words.into()) }
    }

    /// What went wrong.
    #[must_use]
    pub fn kind(&self) -> SpoolErrorKind {
        self.kind
    }

    /// Whether the same may work later without anybody doing something: yes for a full disk, a failed read or
    /// write, a damaged file (opening it salvages), a lock of another program, a file that was deleted while in use.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self.kind,
            SpoolErrorKind::DiskFull
                | SpoolErrorKind::Io
                | SpoolErrorKind::Damaged
                | SpoolErrorKind::Busy
                | SpoolErrorKind::Displaced
        )
    }
}

impl fmt::Display for SpoolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.during, self.kind)?;
        match &self.source {
            Some(source) => write!(f, " ({source})"),
            None => Ok(()),
        }
    }
}

impl fmt::Display for SpoolErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Locked { pid: Some(pid) } => write!(f, "in use by process {pid}"),
            Self::Locked { pid: None } => f.write_str("in use by another process, perhaps by another name"),
            Self::NewerSchema { found, known } => {
                write!(f, "written by a newer version (schema {found}, this one knows {known})")
            }
            Self::NotASpool => f.write_str("not a spool file"),
            Self::TooSmall { bytes_max_min } => {
                write!(
                    f,
                    "spool.bytes_max holds no batch: with the pages of this file {bytes_max_min} bytes are needed"
                )
            }
            Self::DiskFull => f.write_str("disk full"),
            Self::Io => f.write_str("input or output failed"),
            Self::Damaged => f.write_str("file damaged"),
            Self::Busy => f.write_str("locked by another program"),
            Self::Displaced => f.write_str("file deleted or replaced while in use"),
            Self::AnotherSpool => f.write_str("another spool lies in its place"),
            Self::OutOfStep => f.write_str("does not follow what is stored"),
            Self::Exhausted => f.write_str("sequence numbers exhausted"),
        }
    }
}

impl StdError for SpoolError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        // What it was caused by is in its own words already.
        self.source.as_deref().and_then(|source| source.source())
    }
}

/// Our statements are fixed, so what SQLite finds wrong with them or with a column's type is wrong in the file.
pub(super) fn kind_of(error: &rusqlite::Error) -> SpoolErrorKind {
    let rusqlite::Error::SqliteFailure(failure, _) = error else { return SpoolErrorKind::Damaged };
    match failure.code {
        ErrorCode::DiskFull => SpoolErrorKind::DiskFull,
        ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase | ErrorCode::Unknown => SpoolErrorKind::Damaged,
        ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => SpoolErrorKind::Busy,
        ErrorCode::ConstraintViolation => SpoolErrorKind::OutOfStep,
        _ => SpoolErrorKind::Io,
    }
}

/// Adds to a failure what was being done.
pub(super) trait During<T> {
    fn during(self, what: impl Into<String>) -> Result<T, SpoolError>;
}

impl<T> During<T> for rusqlite::Result<T> {
    fn during(self, what: impl Into<String>) -> Result<T, SpoolError> {
        self.map_err(|error| SpoolError::sql(what, error))
    }
}

impl<T> During<T> for io::Result<T> {
    fn during(self, what: impl Into<String>) -> Result<T, SpoolError> {
        self.map_err(|error| SpoolError::io(what, error))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_words_of_a_cause_are_said_once_in_a_chain_of_errors() {
        let error = SpoolError::io("open plant.db", io::Error::other("no such device"));
        assert_eq!(error.to_string(), "open plant.db: input or output failed (no such device)");
        assert!(error.source().is_none());
    }
}
