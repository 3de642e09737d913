//! Finds a running database by its name, from any thread.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use super::handle::{DatabaseHandle, WeakHandle};
use crate::log;

static RUNNING: Mutex<BTreeMap<String, WeakHandle>> = Mutex::new(BTreeMap::new());

/// The running databases of this process, by name.
///
/// A database is found from the moment its `start` returns until its `stop` begins, or until the last handle to it is
/// gone; of two with one name the later one is found.
///
/// ```
/// use influx_spool::{Database, Registry};
/// let plant = Database::builder("registry-example").http("http://localhost:8086").start()?;
/// let found = Registry::find("registry-example").expect("it runs");
/// assert_eq!(found.name(), plant.name());
/// assert!(Registry::find("no such database").is_none());
/// # Ok::<(), influx_spool::StartError>(())
/// ```
#[derive(Debug)]
pub struct Registry;

impl Registry {
    /// The handle of a running database.
    #[must_use]
    pub fn find(name: &str) -> Option<DatabaseHandle> {
        lock().get(name).and_then(WeakHandle::upgrade)
    }

    /// The names of all running databases, sorted.
    #[must_use]
    pub fn names() -> Vec<String> {
        lock().iter().filter(|(_, handle)| handle.upgrade().is_some()).map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn add(handle: &DatabaseHandle) {
        let mut running = lock();
        running.retain(|_, handle| handle.upgrade().is_some());
        let had_name = running.insert(handle.name().to_owned(), handle.downgrade()).is_some();
        drop(running);
        if had_name {
            log::warn!(
                database = handle.name(),
                "another database of this name runs: the later one is found by it"
            );
        }
    }

    pub(super) fn remove(handle: &DatabaseHandle) {
        let mut running = lock();
        if running.get(handle.name()).and_then(WeakHandle::upgrade).is_some_and(|found| found.is_same(handle))
        {
            running.remove(handle.name());
        }
    }
}

fn lock() -> std::sync::MutexGuard<'static, BTreeMap<String, WeakHandle>> {
    RUNNING.lock().unwrap_or_else(PoisonError::into_inner)
}
