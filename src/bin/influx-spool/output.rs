//! Standard output.

use std::io::Write;

/// Prints a text. Nobody there to read it is no reason to fail: the exit code tells the main thing.
pub(crate) fn print(text: &str) {
    let _ = std::io::stdout().write_all(text.as_bytes());
}
