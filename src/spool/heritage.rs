//! What a spool knew last of itself, for whoever opens it again in the same process.
//!
//! Between two openings a file may be deleted, or be put back as it was yesterday. Its owner still knows how many points it
//! held, and which numbers were given: without that, sums would begin anew and numbers would be given twice.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rusqlite::Connection;

use super::error::{SpoolError, SpoolErrorKind};
use super::paths::{self, Paths};
use super::place::{FileId, Place};
use super::quarantine;
use super::room;
use super::salvage;
use super::state::State;

/// The last state of a spool that is on disk for certain, and where that was. Clones are one.
#[derive(Clone, Debug, Default)]
pub(crate) struct Heritage(Arc<Mutex<Option<(State, Place)>>>);

impl Heritage {
    pub(super) fn note(&self, state: &State, place: &Place) {
        *self.lock() = Some((state.clone(), place.clone()));
    }

    pub(super) fn last(&self) -> Option<State> {
        self.lock().as_ref().map(|(state, _)| state.clone())
    }

    /// Sees to it that no new file is begun in the folder that lies under a file system which is not mounted just now.
    pub(super) fn check_mounted(&self, paths: &Paths) -> io::Result<()> {
        let Some(place) = self.place() else { return Ok(()) };
        let folder = FileId::of(paths.folder())?;
        let is_mounted = folder.is_some_and(|folder| folder.is_beside(place.folder()));
        if is_mounted || paths::len(&paths.database) > 0 {
            return Ok(());
        }
        Err(io::Error::new(io::ErrorKind::NotFound, "its file system is not mounted"))
    }

    /// Sees to it that no log is read as that of another database.
    pub(super) fn part(&self, paths: &Paths) -> io::Result<()> {
        self.place().map_or(Ok(()), |place| place.part(paths))
    }

    /// Sees to it that a file that says who it is is the one that was open before. One that does not is salvaged, and
    /// becomes it.
    ///
    /// # Errors
    /// [`SpoolErrorKind::AnotherSpool`]
    pub(super) fn check_kin(&self, found: &State, during: &str) -> Result<(), SpoolError> {
        match self.last() {
            Some(last) if last.uuid != found.uuid => {
                Err(SpoolError::new(SpoolErrorKind::AnotherSpool, during))
            }
            _ => Ok(()),
        }
    }

    fn place(&self) -> Option<Place> {
        self.lock().as_ref().map(|(_, place)| place.clone())
    }

    fn lock(&self) -> MutexGuard<'_, Option<(State, Place)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Gives the file the last state, corrected by what is in it: of what was accepted and is not there, is damaged.
pub(super) fn pass_on(conn: &mut Connection, last: State, found: &State) -> rusqlite::Result<State> {
    let mut state = last;
    state.seq_end = state.seq_end.max(found.seq_end);
    state.backlog = room::measured_backlog(conn)?;
    state.quarantine = quarantine::measured_size(conn)?;
    state.ledger = salvage::corrected(conn, &state)?;
    let tx = conn.transaction()?;
    state.store(&tx)?;
    tx.commit()?;
    Ok(state)
}
