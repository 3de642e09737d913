//! One request and its answer, whole or piece by piece.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use reqwest::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use super::client::Client;
use super::error::QueryError;
use super::reactor::{self, Task};
use crate::machines::verdict::{TransportError, TransportErrorKind};
use crate::transport::{HttpClient, Reply, Request};

/// How many pieces of a streamed answer are read ahead of whoever takes them. A piece is what one read brings, some 400 kB
/// at most.
const PIECES_AHEAD: usize = 2;

/// For a streamed answer as a whole, since every piece has a bound of its own.
const STREAM_TIMEOUT: Duration = Duration::from_secs(7 * 24 * 3600);

/// What a request does to the server, and so whether it may be made again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing.
    Reads,
    /// Something that must not be done twice.
    Changes,
}

/// An answer that is wholly here.
#[derive(Debug)]
pub(super) struct Whole {
    pub(super) status: u16,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

impl Whole {
    pub(super) const fn is_success(&self) -> bool {
        matches!(self.status, 200..=299)
    }

    pub(super) fn succeeded(self) -> Result<Self, QueryError> {
        if self.is_success() { Ok(self) } else { Err(QueryError::refused(self.status, &self.body)) }
    }

    pub(super) fn header(&self, name: &str) -> Option<String> {
        self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned())
    }

    /// The body as JSON of a certain form.
    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> Result<T, QueryError> {
        serde_json::from_slice(&self.body).map_err(QueryError::unreadable)
    }
}

/// An answer on its way. Dropping it ends the request.
#[derive(Debug)]
pub(super) struct Pieces {
    pieces: mpsc::Receiver<Result<Bytes, QueryError>>,
    _task: Task,
}

impl Pieces {
    /// The next piece; `None` at the end of the answer.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Result<Bytes, QueryError>> {
        self.pieces.recv().await
    }

    /// An answer that is here already.
    #[cfg(test)]
    pub(super) fn of(pieces: &[&str]) -> Self {
        let (sender, receiver) = mpsc::channel(pieces.len() + 1);
        for piece in pieces {
            sender.try_send(Ok(Bytes::copy_from_slice(piece.as_bytes()))).unwrap();
        }
        Self { pieces: receiver, _task: reactor::spawn(async {}).unwrap() }
    }
}

impl Client {
    /// Makes a request and brings its whole answer, whatever the status.
    pub(super) async fn exchange(&self, effect: Effect, request: Request) -> Result<Whole, QueryError> {
        let (http, limit) = (self.http.clone(), self.answer_bytes_max);
        let request = request.timeout(self.timeout);
        let (done, answer) = oneshot::channel();
        let _task = reactor::spawn(async move {
            let whole = async { collect(send(&http, effect, request).await?, limit).await };
            // Whoever asked may have gone.
            let _ = done.send(whole.await);
        })?;
        answer.await.unwrap_or_else(|_| Err(gone()))
    }

    /// As [`exchange`](Self::exchange), where a status that is no success is an error.
    pub(super) async fn ask(&self, request: Request) -> Result<Whole, QueryError> {
        self.exchange(Effect::Reads, request).await?.succeeded()
    }

    /// As [`ask`](Self::ask), for what changes something.
    pub(super) async fn change(&self, request: Request) -> Result<Whole, QueryError> {
        self.exchange(Effect::Changes, request).await?.succeeded()
    }

    /// Asks and brings the answer piece by piece, as fast as it is taken. A status that is no success is an error.
    pub(super) async fn stream(&self, request: Request) -> Result<Pieces, QueryError> {
        let (http, limit, patience) = (self.http.clone(), self.answer_bytes_max, self.timeout);
        let request = request.timeout(STREAM_TIMEOUT);
        let (begun, beginning) = oneshot::channel();
        let (sender, pieces) = mpsc::channel(PIECES_AHEAD);
        let task = reactor::spawn(async move {
            let reply = match begin(&http, request, limit, patience).await {
                Ok(reply) => reply,
                Err(error) => return drop(begun.send(Err(error))),
            };
            if begun.send(Ok(())).is_ok() {
                pass_on(reply, sender, patience).await;
            }
        })?;
        beginning.await.unwrap_or_else(|_| Err(gone()))?;
        Ok(Pieces { pieces, _task: task })
    }
}

/// What requests of this side have beside those of the other.
pub(super) trait Form: Sized {
    /// # Errors
    /// The body cannot be written as JSON.
    fn json(self, body: &impl serde::Serialize) -> Result<Self, QueryError>;

    /// Says which form of an answer is wanted.
    fn accept(self, form: &'static str) -> Self;
}

impl Form for Request {
    fn json(self, body: &impl serde::Serialize) -> Result<Self, QueryError> {
        let body = serde_json::to_vec(body).map_err(QueryError::unreadable)?;
        Ok(self.header(CONTENT_TYPE, HeaderValue::from_static("application/json")).body(body))
    }

    fn accept(self, form: &'static str) -> Self {
        self.header(ACCEPT, HeaderValue::from_static(form))
    }
}

/// Makes a request; one that reads is made once more when the connection broke before an answer began. Most often the
/// server had closed it while it was idle, a restart for example.
async fn send(http: &HttpClient, effect: Effect, request: Request) -> Result<Reply, TransportError> {
    let again = (effect == Effect::Reads).then(|| request.clone());
    match (http.send(request).await, again) {
        (Err(error), Some(again)) if is_broken(error.kind) => http.send(again).await,
        (sent, _) => sent,
    }
}

const fn is_broken(kind: TransportErrorKind) -> bool {
    matches!(kind, TransportErrorKind::Broken | TransportErrorKind::Reset)
}

async fn begin(
    http: &HttpClient,
    request: Request,
    limit: usize,
    patience: Duration,
) -> Result<Reply, QueryError> {
    let begun = async {
        let reply = send(http, Effect::Reads, request).await?;
        if (200..300).contains(&reply.status()) {
            return Ok(reply);
        }
        let refusal = collect(reply, limit).await?;
        Err(QueryError::refused(refusal.status, &refusal.body))
    };
    timeout(patience, begun)
        .await
        .unwrap_or_else(|_| Err(QueryError::Timeout(format!("none within {patience:?}"))))
}

/// Hands the pieces on. Whoever takes them slowly is waited for; the server is not, beyond its time for each.
async fn pass_on(mut reply: Reply, sender: mpsc::Sender<Result<Bytes, QueryError>>, patience: Duration) {
    loop {
        let piece = match timeout(patience, reply.chunk()).await {
            Ok(Ok(None)) => return,
            Ok(Ok(Some(piece))) => Ok(piece),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(QueryError::Timeout(format!("no more of it within {patience:?}"))),
        };
        let is_last = piece.is_err();
        if sender.send(piece).await.is_err() || is_last {
            return;
        }
    }
}

async fn collect(mut reply: Reply, limit: usize) -> Result<Whole, QueryError> {
    let (status, headers) = (reply.status(), reply.headers().clone());
    let mut body = BytesMut::new();
    while let Some(piece) = reply.chunk().await? {
        if piece.len() > limit - body.len() {
            return Err(QueryError::TooLarge { limit });
        }
        body.extend_from_slice(&piece);
    }
    Ok(Whole { status, headers, body: body.freeze() })
}

/// The thread that was to ask has ended, which it never does by itself.
fn gone() -> QueryError {
    QueryError::Broken("the thread that asks has ended".into())
}

impl From<TransportError> for QueryError {
    fn from(error: TransportError) -> Self {
        match error.kind {
            TransportErrorKind::Timeout => Self::Timeout(error.words),
            TransportErrorKind::Broken | TransportErrorKind::Reset | TransportErrorKind::Garbled => {
                Self::Broken(error.words)
            }
            _ => Self::Unreachable(error.words),
        }
    }
}
