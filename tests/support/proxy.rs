//! An HTTP proxy in front of one server that notes what passes, and can hold a request on its way.

use std::io::{self, BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// Where a request is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hold {
    /// Half of the body has been sent to the server.
    HalfSent,
    /// The server has the whole request; its answer is thrown away.
    Unanswered,
}

/// One body that passed.
#[derive(Clone, Debug)]
pub struct Passed {
    /// The plain lines.
    pub text: String,
    /// The server's status; `None` if there was no answer, or none that was let through.
    pub status: Option<u16>,
}

/// See the module's documentation.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

struct State {
    server: String,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    passed: Vec<Passed>,
    requests: usize,
    /// What to do with the next request after so many.
    hold: Option<(usize, Hold)>,
    holding: bool,
    closed: bool,
}

impl Proxy {
    /// A proxy on a free port for the server at this root URL.
    pub fn start(server: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let server = server.strip_prefix("http://").expect("a plain URL").to_owned();
        let state = Arc::new(State { server, inner: Mutex::new(Inner::default()), changed: Condvar::new() });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if serving.lock().closed {
                    return;
                }
                let Ok(client) = client else { continue };
                let state = Arc::clone(&serving);
                std::thread::spawn(move || state.serve(&client));
            }
        });
        Self { address, state }
    }

    /// The root URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Holds the next request after so many have come in all.
    pub fn hold_after(&self, requests: usize, hold: Hold) {
        self.state.lock().hold = Some((requests, hold));
    }

    /// Waits until a request is held.
    pub fn wait_for_held(&self, deadline: Duration) {
        let (inner, late) = self
            .state
            .changed
            .wait_timeout_while(self.state.lock(), deadline, |inner| !inner.holding)
            .unwrap();
        assert!(!late.timed_out(), "no request was held, {} came", inner.requests);
    }

    /// Lets the held request go on, or break.
    pub fn release(&self) {
        let mut inner = self.state.lock();
        (inner.hold, inner.holding) = (None, false);
        self.state.changed.notify_all();
    }

    /// What passed, in the order of the answers.
    pub fn passed(&self) -> Vec<Passed> {
        self.state.lock().passed.clone()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.release();
        self.state.lock().closed = true;
        // Wakes the listening thread.
        let _ = TcpStream::connect(self.address);
    }
}

struct Message {
    head: Vec<u8>,
    body: Vec<u8>,
    gzip: bool,
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Passes requests on until either side closes.
    fn serve(&self, client: &TcpStream) {
        let mut requests = BufReader::new(client);
        let mut server = None;
        while let Ok(Some(request)) = read_message(&mut requests) {
            let hold = self.count();
            let answer = match &mut server {
                Some(server) => self.exchange(server, &request, hold),
                none => TcpStream::connect(&self.server)
                    .and_then(|new| self.exchange(none.insert(new), &request, hold)),
            };
            let answer = if hold.is_some() { Err(io::ErrorKind::ConnectionAborted.into()) } else { answer };
            let status = answer.as_ref().ok().and_then(|answer| status(&answer.head));
            self.lock().passed.push(Passed { text: text_of(request), status });
            self.changed.notify_all();
            let passed_on = answer.and_then(|Message { head, body, .. }| {
                let mut client = client;
                client.write_all(&head).and_then(|()| client.write_all(&body))
            });
            if passed_on.is_err() {
                break;
            }
        }
        let _ = client.shutdown(std::net::Shutdown::Both);
    }

    fn count(&self) -> Option<Hold> {
        let mut inner = self.lock();
        let before = inner.requests;
        inner.requests += 1;
        inner.hold.filter(|(after, _)| *after <= before && !inner.holding).map(|(_, hold)| hold)
    }

    fn exchange(&self, server: &mut TcpStream, request: &Message, hold: Option<Hold>) -> io::Result<Message> {
        let (half, rest) = request.body.split_at(request.body.len() / 2);
        server.write_all(&request.head)?;
        server.write_all(half)?;
        if hold == Some(Hold::HalfSent) {
            self.hold();
        }
        server.write_all(rest)?;
        if hold == Some(Hold::Unanswered) {
            self.hold();
        }
        read_message(&mut BufReader::new(server))?.ok_or_else(|| io::ErrorKind::UnexpectedEof.into())
    }

    fn hold(&self) {
        let mut inner = self.lock();
        inner.holding = true;
        self.changed.notify_all();
        while inner.holding {
            inner = self.changed.wait(inner).unwrap();
        }
    }
}

/// A head and a body of known length; no other bodies pass here.
fn read_message(reader: &mut impl BufRead) -> io::Result<Option<Message>> {
    let (mut head, mut length, mut gzip) = (Vec::new(), 0, false);
    loop {
        let start = head.len();
        if reader.read_until(b'\n', &mut head)? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&head[start..]).trim_end().to_ascii_lowercase();
        match line.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap_or(0),
            Some(("content-encoding", "gzip")) => gzip = true,
            _ if line.is_empty() => break,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    Ok(Some(Message { head, body, gzip }))
}

fn status(head: &[u8]) -> Option<u16> {
    std::str::from_utf8(head).ok()?.split(' ').nth(1)?.parse().ok()
}

fn text_of(Message { body, gzip, .. }: Message) -> String {
    let plain = if gzip { super::receiver::gunzip(&body) } else { body };
    String::from_utf8(plain).expect("bodies are UTF-8")
}
