//! SIGINT and SIGTERM.

use std::io;

use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tokio::sync::watch;

/// Becomes ready at the first signal. The second ends the process, as if nobody listened.
#[derive(Clone, Debug)]
pub(crate) struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Listens from now on, on a thread of its own.
    pub(crate) fn listen() -> io::Result<Self> {
        let mut signals = Signals::new([SIGINT, SIGTERM])?;
        let (told, heard) = watch::channel(false);
        std::thread::Builder::new().name("signals".into()).spawn(move || {
            for signal in &mut signals {
                if told.send_replace(true) {
                    let _ = signal_hook::low_level::emulate_default_handler(signal);
                }
            }
        })?;
        Ok(Self(heard))
    }

    /// Waits for the first signal.
    pub(crate) async fn wait(&mut self) {
        if self.0.wait_for(|told| *told).await.is_err() {
            // Nobody listens any more, so there will be no signal.
            std::future::pending::<()>().await;
        }
    }
}
