//! Where requests run: a thread of their own with a tokio runtime.
//!
//! So a question can be asked from any thread and under any executor, and is answered while the application's runtime is busy and
//! while the crate's arbiters are. The thread is started at the first question and stays: asleep, it costs its stack.

use std::io;
use std::sync::{Mutex, PoisonError};

use tokio::runtime::{Builder, Handle};
use tokio::task::AbortHandle;

use super::error::QueryError;

/// A task that ends when this is dropped: nobody waits for its answer any more.
#[derive(Debug)]
pub(super) struct Task(AbortHandle);

impl Drop for Task {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Runs a future for as long as the task is kept.
///
/// # Errors
/// The thread cannot be started.
pub(super) fn spawn(future: impl Future<Output = ()> + Send + 'static) -> Result<Task, QueryError> {
    let handle = handle().map_err(|error| QueryError::Unreachable(format!("start a thread: {error}")))?;
    Ok(Task(handle.spawn(future).abort_handle()))
}

fn handle() -> io::Result<Handle> {
    static RUNNING: Mutex<Option<Handle>> = Mutex::new(None);

    let mut running = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(handle) = &*running {
        return Ok(handle.clone());
    }
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let handle = runtime.handle().clone();
    let run = move || runtime.block_on(std::future::pending::<()>());
    std::thread::Builder::new().name("influx-spool query".into()).spawn(run)?;
    *running = Some(handle.clone());
    Ok(handle)
}
