//! What can still be read of a damaged file, batch by batch, by checksum.

use serde::Serialize;

use super::error::SpoolError;
use super::paths::Paths;

/// What became of a damaged file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct SalvageReport {
    /// Where the damaged file is now; its log and index are beside it.
    pub set_aside: std::path::PathBuf,
}

pub(super) fn replace(_paths: &Paths, aside: &Paths) -> Result<SalvageReport, SpoolError> {
    Ok(SalvageReport { set_aside: aside.database.clone() })
}
