//! Standard input, read by a thread of its own, so that the reading can be stopped while it waits for more.

use std::io::{self, Read};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

/// Read at once: what a pipe of Linux holds.
const CHUNK_BYTES: usize = 64 << 10;

/// A stream of chunks. One is read ahead, and none before that was taken.
#[derive(Clone, Debug, Default)]
pub(crate) struct Input(Arc<Handoff>);

#[derive(Debug, Default)]
struct Handoff {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    chunk: Option<Vec<u8>>,
    ended: bool,
    end: Option<End>,
}

/// How the input came to its end.
#[derive(Debug)]
pub(crate) enum End {
    /// There is no more.
    Eof,
    /// It was [interrupted](Input::interrupt).
    Interrupted,
    /// It cannot be read.
    Failed(io::Error),
}

impl Input {
    /// Starts to read.
    pub(crate) fn read(mut source: impl Read + Send + 'static) -> io::Result<Self> {
        let input = Self::default();
        let reader = input.clone();
        std::thread::Builder::new().name("input".into()).spawn(move || {
            while reader.wait_until_wanted() {
                let mut chunk = vec![0; CHUNK_BYTES];
                match source.read(&mut chunk) {
                    Ok(0) => reader.end(End::Eof),
                    Ok(length) => {
                        chunk.truncate(length);
                        reader.hand_over(chunk);
                    }
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                    Err(error) => reader.end(End::Failed(error)),
                }
            }
        })?;
        Ok(input)
    }

    /// Stops the reading. What was handed over already can still be taken; what comes in later is left alone.
    pub(crate) fn interrupt(&self) {
        self.end(End::Interrupted);
    }

    /// Waits for the next chunk. Not to be asked again after the end.
    ///
    /// # Errors
    /// The end, and how it came.
    pub(crate) fn next_chunk(&self) -> Result<Vec<u8>, End> {
        let mut state = self.lock();
        loop {
            if let Some(chunk) = state.chunk.take() {
                self.0.changed.notify_all();
                return Ok(chunk);
            }
            if let Some(end) = state.end.take() {
                return Err(end);
            }
            state = self.wait(state);
        }
    }

    /// Waits until the chunk before was taken; `false` at the end.
    fn wait_until_wanted(&self) -> bool {
        let mut state = self.lock();
        while state.chunk.is_some() && !state.ended {
            state = self.wait(state);
        }
        !state.ended
    }

    fn hand_over(&self, chunk: Vec<u8>) {
        let mut state = self.lock();
        if !state.ended {
            state.chunk = Some(chunk);
            self.0.changed.notify_all();
        }
    }

    /// The first end counts.
    fn end(&self, end: End) {
        let mut state = self.lock();
        if !state.ended {
            state.ended = true;
            state.end = Some(end);
            self.0.changed.notify_all();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<'a>(&self, state: MutexGuard<'a, State>) -> MutexGuard<'a, State> {
        self.0.changed.wait(state).unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Gives what is sent to it, and waits for more as a pipe does.
    struct Pipe(mpsc::Receiver<&'static [u8]>);

    impl Read for Pipe {
        fn read(&mut self, bytes: &mut [u8]) -> io::Result<usize> {
            match self.0.recv() {
                Ok(sent) => {
                    bytes[..sent.len()].copy_from_slice(sent);
                    Ok(sent.len())
                }
                Err(mpsc::RecvError) => Ok(0),
            }
        }
    }

    #[test]
    fn chunks_come_in_order_until_the_end() {
        let (pipe, source) = mpsc::sync_channel(2);
        let input = Input::read(Pipe(source)).unwrap();
        pipe.send(b"a").unwrap();
        pipe.send(b"b").unwrap();
        drop(pipe);
        assert_eq!(input.next_chunk().unwrap(), b"a");
        assert_eq!(input.next_chunk().unwrap(), b"b");
        assert!(matches!(input.next_chunk(), Err(End::Eof)));
    }

    #[test]
    fn an_interruption_does_not_wait_for_a_source_that_is_silent() {
        let (pipe, source) = mpsc::sync_channel(0);
        let input = Input::read(Pipe(source)).unwrap();
        // Without a place in between, this is over when the reader has it.
        pipe.send(b"a").unwrap();
        assert_eq!(input.next_chunk().unwrap(), b"a");
        input.interrupt();
        assert!(matches!(input.next_chunk(), Err(End::Interrupted)));
    }
}
