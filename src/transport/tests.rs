//! One request, and what the transport makes of the peer.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;

use super::{HttpWriter, Transport};
use crate::machines::verdict::{Answer, Response, TransportErrorKind};
use crate::values::batch::{Codec, Destination};
use crate::values::config::{Auth, HttpConfig, Proxy, Secret};

/// More than the buffers of two sockets hold.
const LONG_BODY: usize = 8 << 20;

/// A server that does this with each connection as soon as a request's head is there, and closes it.
fn serve(act: impl Fn(&str, &mut TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for connection in listener.incoming() {
            let mut connection = connection.unwrap();
            let mut head = String::new();
            // A byte at a time, so that the body stays where it is.
            let mut reader = BufReader::with_capacity(1, &connection);
            while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).is_ok_and(|read| read > 0) {}
            act(&head, &mut connection);
        }
    });
    url
}

/// A server that reads the body, which is short, sends these bytes and closes.
fn answering(bytes: impl Into<Vec<u8>>) -> String {
    let bytes = bytes.into();
    serve(move |_, connection| {
        let _ = connection.read(&mut [0; 512]);
        connection.write_all(&bytes).unwrap();
    })
}

/// The URL of a port at which nobody listens.
fn nowhere() -> String {
    format!("http://{}", TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap())
}

fn writer(url: &str, change: impl FnOnce(&mut HttpConfig)) -> HttpWriter {
    let mut config = HttpConfig::new(url);
    config.proxy = Proxy::None;
    change(&mut config);
    HttpWriter::new(&config).unwrap()
}

async fn send(writer: &HttpWriter, body: impl Into<Bytes>) -> Answer {
    writer.send(&Destination::new("d"), Codec::Identity, body.into()).await
}

async fn response(url: &str) -> Response {
    match send(&writer(url, |_| ()), "m f=1 1\n").await {
        Answer::Response(response) => response,
        Answer::Failed(error) => panic!("{error:?}"),
    }
}

async fn check_fails(url: &str, expected: TransportErrorKind, change: impl FnOnce(&mut HttpConfig)) {
    match send(&writer(url, change), "m f=1 1\n").await {
        Answer::Failed(error) => {
            assert_eq!(error.kind, expected, "{}", error.words);
            let secrets = ["s3cret", "write?"];
            assert!(!secrets.iter().any(|secret| error.words.contains(secret)), "{}", error.words);
        }
        Answer::Response(response) => panic!("{response:?}"),
    }
}

#[tokio::test]
async fn each_way_to_fail_has_its_kind() {
    let query = Auth::Query { username: "u".into(), password: "s3cret".into() };
    check_fails(&nowhere(), TransportErrorKind::Connect, |config| config.auth = query).await;
    check_fails("http://host.invalid", TransportErrorKind::Connect, |_| ()).await;

    let missing = Auth::Bearer { token: Secret::file("/missing/token") };
    check_fails(&nowhere(), TransportErrorKind::Local, |config| config.auth = missing).await;

    let silent = serve(|_, connection| _ = connection.read_to_end(&mut Vec::new()));
    check_fails(&silent, TransportErrorKind::Timeout, |config| config.timeout = Duration::from_millis(50))
        .await;

    check_fails(&answering("HTTP/1.1 204"), TransportErrorKind::Broken, |_| ()).await;
    let resetting = serve(|_, connection| {
        socket2::SockRef::from(&*connection).set_linger(Some(Duration::ZERO)).unwrap();
    });
    check_fails(&resetting, TransportErrorKind::Reset, |_| ()).await;

    check_fails(&answering("SSH-2.0\r\n\r\n"), TransportErrorKind::Garbled, |_| ()).await;
    let control = "HTTP/1.1 400 Bad\r\nX-Influxdb-Error: \u{1}\r\n\r\n";
    check_fails(&answering(control), TransportErrorKind::Garbled, |_| ()).await;

    let plain = answering("HTTP/1.0 400 Bad Request\r\n\r\n").replace("http:", "https:");
    check_fails(&plain, TransportErrorKind::Tls, |config| config.tls.verify = false).await;
}

#[tokio::test]
async fn headers_and_the_beginning_of_the_body_are_handed_on() {
    let answer = b"HTTP/1.1 429 Slow\r\nRetry-After: 2\r\nX-Strange: \xff\r\nContent-Length: 5\r\n\r\nslow\n";
    let response = response(&answering(*answer)).await;
    assert_eq!((response.status, &*response.body), (429, "slow"));
    let header = |name: &str| response.headers.iter().find(|(each, _)| each == name).unwrap().1.clone();
    assert_eq!((&*header("retry-after"), &*header("x-strange")), ("2", "\u{fffd}"));
}

#[tokio::test]
async fn a_long_answer_is_cut_and_a_refusal_later() {
    for (status, length) in [(200, 64 << 10), (400, 1 << 20)] {
        let endless = serve(move |_, connection| {
            let _ = write!(connection, "HTTP/1.1 {status} Endless\r\n\r\n");
            while connection.write_all(&[b'x'; 4096]).is_ok() {}
        });
        assert_eq!(response(&endless).await.body.len(), length);
    }
}

/// A server that closes the first connection with most of its body unread, which resets it, and does this with the second.
fn deaf_at_first(act: impl Fn(&str, &mut TcpStream) + Send + 'static) -> (String, Arc<Mutex<usize>>) {
    let heads = Arc::new(Mutex::new(0));
    let counted = Arc::clone(&heads);
    let url = serve(move |head, connection| {
        let mut heads = counted.lock().unwrap();
        *heads += 1;
        if *heads > 1 {
            act(head, connection);
        }
    });
    (url, heads)
}

#[tokio::test]
async fn a_refusal_that_was_lost_with_its_connection_is_asked_for_again() {
    let too_large = b"HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n";
    let (url, heads) = deaf_at_first(|_, connection| connection.write_all(too_large).unwrap());
    let answer = send(&writer(&url, |_| ()), vec![b'x'; LONG_BODY]).await;
    assert!(matches!(answer, Answer::Response(Response { status: 413, .. })), "{answer:?}");
    assert_eq!(*heads.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_body_that_was_held_back_is_sent_to_whom_wants_it() {
    let (url, heads) = deaf_at_first(|head, connection| {
        let wanted = format!("content-length: {LONG_BODY}\r\n");
        if head.contains(&wanted) && connection.read_exact(&mut vec![0; LONG_BODY]).is_ok() {
            connection.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").unwrap();
        }
    });
    let answer = send(&writer(&url, |_| ()), vec![b'x'; LONG_BODY]).await;
    assert!(matches!(answer, Answer::Response(Response { status: 204, .. })), "{answer:?}");
    assert_eq!(*heads.lock().unwrap(), 2);
}

#[tokio::test]
async fn a_server_is_there_if_it_answers_anything_but_trouble() {
    let check = async |ping: u16, health: u16, expected: bool| {
        let url = serve(move |head, connection| {
            let status = if head.starts_with("GET /ping ") { ping } else { health };
            let _ = write!(
                connection,
                "HTTP/1.1 {status} Status\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
            );
        });
        assert_eq!(writer(&url, |_| ()).ping().await, expected, "{ping} {health}");
    };
    check(204, 500, true).await;
    check(401, 500, true).await;
    check(503, 200, false).await;
    check(404, 200, true).await;
    check(404, 404, true).await;
    check(404, 503, false).await;
    assert!(!writer(&nowhere(), |_| ()).ping().await);
}

#[tokio::test]
async fn a_database_is_created_by_a_statement() {
    let url = serve(|head, connection| {
        let done = head.starts_with("POST /query?q=CREATE+DATABASE+%22my+db%22 ");
        let body = if done { r#"{"results":[{"statement_id":0}]}"# } else { head };
        let length = body.len();
        let _ = write!(
            connection,
            "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
        );
    });
    let writer = writer(&url, |_| ());
    assert!(writer.create_database("my db").await);
    assert!(!writer.create_database("another").await);
}
