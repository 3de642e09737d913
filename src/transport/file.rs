//! Files of ours that may change while we run: secrets and certificates.

use std::path::Path;
use std::time::SystemTime;

use crate::machines::verdict::{TransportError, TransportErrorKind};
use crate::values::config::ConfigError;

/// What a file looked like when it was read; another look tells whether it has changed.
///
/// Looking costs a microsecond, so it is done at every request. A file that is swapped by renaming or by a symbolic link,
/// as Kubernetes and certbot do, has another number; one written in place has another time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FileStamp {
    modified: Option<SystemTime>,
    len: u64,
    number: u64,
}

impl FileStamp {
    /// `None` if there is no such file, or none that can be seen.
    pub(super) fn of(path: &Path) -> Option<Self> {
        let metadata = std::fs::metadata(path).ok()?;
        Some(Self { modified: metadata.modified().ok(), len: metadata.len(), number: number_of(&metadata) })
    }
}

#[cfg(unix)]
fn number_of(metadata: &std::fs::Metadata) -> u64 {
    std::os::unix::fs::MetadataExt::ino(metadata)
}

#[cfg(not(unix))]
fn number_of(_: &std::fs::Metadata) -> u64 {
    0
}

/// What is wrong on our side: a configuration error at start, and a reason to wait later, when a file may well be in the
/// middle of being replaced.
#[derive(Debug)]
pub(super) struct LocalError {
    setting: &'static str,
    words: String,
}

impl LocalError {
    pub(super) fn new(setting: &'static str, words: impl Into<String>) -> Self {
        Self { setting, words: words.into() }
    }

    pub(super) fn of_file(setting: &'static str, path: &Path, cause: impl std::fmt::Display) -> Self {
        Self::new(setting, format!("{}: {cause}", path.display()))
    }
}

impl From<LocalError> for ConfigError {
    fn from(error: LocalError) -> Self {
        Self::new(error.setting, error.words)
    }
}

impl From<LocalError> for TransportError {
    fn from(error: LocalError) -> Self {
        Self { kind: TransportErrorKind::Local, words: format!("{}: {}", error.setting, error.words) }
    }
}
