//! A body that waits a moment before it is sent.

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use tokio::time::{Sleep, sleep};

/// How long. The longest round trip, over a satellite, is 0.7 s.
const HELD_FOR: Duration = Duration::from_secs(1);

/// Gives a server time to refuse a request by its head, before there is a body that it would have to read first.
///
/// It is what `Expect: 100-continue` is for, but without the header, which not every server and proxy knows.
pub(super) struct HeldBody {
    /// Starts when the head has been sent.
    wait: Option<Pin<Box<Sleep>>>,
    bytes: Bytes,
}

impl HeldBody {
    pub(super) const fn new(bytes: Bytes) -> Self {
        Self { wait: None, bytes }
    }
}

impl Body for HeldBody {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let wait = self.wait.get_or_insert_with(|| Box::pin(sleep(HELD_FOR)));
        ready!(wait.as_mut().poll(context));
        let bytes = std::mem::take(&mut self.bytes);
        Poll::Ready((!bytes.is_empty()).then(|| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
