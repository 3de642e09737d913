//! Running a question until it is answered or a signal comes.

use std::pin::pin;

use anyhow::{Context, bail};
use futures_util::future::{Either, select};

use crate::interrupt::Interrupt;

/// Waits for the answer.
///
/// # Errors
/// The question's own, or a signal has come before.
pub(crate) fn run<T>(question: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let mut interrupt = Interrupt::listen().context("listen for signals")?;
    runtime.block_on(async {
        match select(pin!(question), pin!(interrupt.wait())).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => bail!("interrupted"),
        }
    })
}
