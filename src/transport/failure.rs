//! What went wrong with a request, in words that hold no URL and no secret.

use std::error::Error;
use std::io;

use crate::machines::verdict::{TransportError, TransportErrorKind};

/// Tells the step at which a request failed. The words are those of the causes: the outermost error would name the URL, which may
/// hold a password.
pub(super) fn failure(error: &reqwest::Error) -> TransportError {
    TransportError { kind: kind_of(error), words: words_of(error) }
}

fn kind_of(error: &reqwest::Error) -> TransportErrorKind {
    if causes(error).any(is_tls) {
        TransportErrorKind::Tls
    } else if error.is_connect() {
        TransportErrorKind::Connect
    } else if error.is_timeout() {
        TransportErrorKind::Timeout
    } else if causes(error).any(is_garbled) {
        TransportErrorKind::Garbled
    } else if causes(error).any(is_reset) {
        TransportErrorKind::Reset
    } else {
        TransportErrorKind::Broken
    }
}

fn words_of(error: &reqwest::Error) -> String {
    let mut words: Vec<String> = causes(error)
        .map(ToString::to_string)
        // "client error (Connect)", of which the next cause says more.
        .filter(|words| !words.starts_with("client error"))
        .collect();
    // An I/O error that wraps another speaks with its words.
    words.dedup();
    if words.is_empty() { "request failed".into() } else { words.join(": ") }
}

/// Everything below the error itself.
fn causes<'a>(error: &'a reqwest::Error) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    std::iter::successors(error.source(), |cause: &&'a (dyn Error + 'static)| below(*cause))
}

/// An I/O error passes over the error it wraps when it is asked for its source.
fn below<'a>(cause: &'a (dyn Error + 'static)) -> Option<&'a (dyn Error + 'static)> {
    match cause.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
        Some(wrapped) => Some(wrapped),
        None => cause.source(),
    }
}

/// An alert of the server's counts as well: it may come after the handshake, when a certificate of ours was refused.
fn is_tls(cause: &(dyn Error + 'static)) -> bool {
    cause.is::<rustls::Error>()
}

fn is_garbled(cause: &(dyn Error + 'static)) -> bool {
    cause.downcast_ref::<hyper::Error>().is_some_and(hyper::Error::is_parse)
}

fn is_reset(cause: &(dyn Error + 'static)) -> bool {
    let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
    matches!(kind, Some(io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe))
}
