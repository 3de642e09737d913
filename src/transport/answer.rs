//! An answer, read as far as a verdict needs it.

use crate::machines::verdict::{Answer, Response};

use super::client::Reply;

/// How much of an answer is read that is no refusal. A page that goes on for ever does not.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How much of a refusal is read: InfluxDB 3 names every bad line of a body, with some hundred bytes each.
const REFUSAL_BYTES_MAX: usize = 1 << 20;

/// Reads an answer. Its status has come: a body that breaks off, or takes too long, takes nothing from it.
pub(super) async fn read(mut reply: Reply) -> Answer {
    let status = reply.status();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let headers =
        reply.headers().iter().map(|(name, value)| (name.as_str().to_owned(), text(value.as_bytes())));
    let headers = headers.collect();
    let bytes_max = if status >= 400 { REFUSAL_BYTES_MAX } else { ANSWER_BYTES_MAX };
    let mut body = Vec::new();
    while body.len() < bytes_max
        && let Ok(Some(chunk)) = reply.chunk().await
    {
        body.extend_from_slice(&chunk[..chunk.len().min(bytes_max - body.len())]);
    }
    Answer::Response(Response { status, headers, body: text(&body).trim_end().to_owned() })
}
