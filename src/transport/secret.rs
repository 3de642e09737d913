//! A secret as it is now.

use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::file::{FileStamp, LocalError};
use crate::values::config::Secret;

/// How large a file with a secret may be. The longest tokens known have a few kilobytes; a mistaken path to a log should not be
/// read whole.
const SECRET_BYTES_MAX: u64 = 64 << 10;

/// A secret that is read again when its file has changed.
///
/// Reading is a blocking read of a few bytes, once for each version of the file; it is done where it is needed.
pub(super) struct CurrentSecret {
    secret: Secret,
    /// What was read last, and of which version of the file. The lock is held while the file is read: whoever comes second
    /// need not read it again.
    read: Mutex<Option<(FileStamp, String)>>,
}

impl CurrentSecret {
    pub(super) fn new(secret: Secret) -> Self {
        Self { secret, read: Mutex::new(None) }
    }

    /// The secret, without whitespace around it.
    ///
    /// # Errors
    /// Its file cannot be read, or holds nothing.
    pub(super) fn text(&self) -> Result<String, LocalError> {
        let file = match &self.secret {
            Secret::Text(text) => return Ok(text.clone()),
            Secret::File { file } => file,
        };
        let stamp = FileStamp::of(file);
        let mut read = self.lock();
        if let Some((_, text)) = read.as_ref().filter(|(seen, _)| Some(seen) == stamp.as_ref()) {
            return Ok(text.clone());
        }
        let text = read_secret(file)?;
        // Stamped before it was read: a change in between is found at the next look.
        *read = stamp.map(|stamp| (stamp, text.clone()));
        Ok(text)
    }

    /// Has the file read again, whatever it looks like: the server refused what it held.
    pub(super) fn distrust(&self) {
        *self.lock() = None;
    }

    fn lock(&self) -> MutexGuard<'_, Option<(FileStamp, String)>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_secret(file: &Path) -> Result<String, LocalError> {
    let bad = |cause: &dyn std::fmt::Display| LocalError::of_file("http.auth", file, cause);
    if std::fs::metadata(file).map_err(|error| bad(&error))?.len() > SECRET_BYTES_MAX {
        return Err(bad(&"too long for a secret"));
    }
    let text = std::fs::read_to_string(file).map_err(|error| bad(&error))?;
    match text.trim() {
        "" => Err(bad(&"holds no secret")),
        secret => Ok(secret.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_is_read_again() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        let secret = CurrentSecret::new(Secret::file(&file));
        let words = TransportWords::from(secret.text().unwrap_err());
        assert!(words.0.contains("token: No such file"), "{words:?}");
        std::fs::write(&file, " one\n").unwrap();
        assert_eq!(secret.text().unwrap(), "one");
        std::fs::write(&file, "another\n").unwrap();
        assert_eq!(secret.text().unwrap(), "another");
        std::fs::write(&file, "\n").unwrap();
        secret.text().unwrap_err();
    }

    #[test]
    fn a_distrusted_file_is_read_again_though_it_looks_the_same() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("token");
        std::fs::write(&file, "one").unwrap();
        let modified = std::fs::metadata(&file).unwrap().modified().unwrap();
        let secret = CurrentSecret::new(Secret::file(&file));
        assert_eq!(secret.text().unwrap(), "one");
        std::fs::write(&file, "two").unwrap();
        std::fs::File::options().append(true).open(&file).unwrap().set_modified(modified).unwrap();
        assert_eq!(secret.text().unwrap(), "one");
        secret.distrust();
        assert_eq!(secret.text().unwrap(), "two");
    }

    #[derive(Debug)]
    struct TransportWords(String);

    impl From<LocalError> for TransportWords {
        fn from(error: LocalError) -> Self {
            Self(crate::machines::verdict::TransportError::from(error).words)
        }
    }
}
