//! A receiver that speaks `POST /write`, in threads of its own: what a test or an example compares with.
//!
//! It keeps what it accepted, in order, and can be told to go away, to refuse, to hang up or to keep silent.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// What the receiver does with a request.
#[derive(Clone)]
pub enum Manner {
    /// Keeps the points and answers 204.
    Accept,
    /// Keeps nothing and answers this status with this body.
    Answer(u16, String),
    /// Refuses, as InfluxDB does, every body that holds this text, and accepts the others.
    RefuseLinesWith(String),
    /// Looks at what it was sent.
    Judge(Arc<dyn Fn(&str) -> Judgement + Send + Sync>),
    /// Keeps nothing and closes the connection without an answer.
    HangUp,
    /// Keeps the points and closes the connection without an answer.
    AcceptAndHangUp,
    /// Never answers, until the manner changes.
    Silence,
}

/// What is done with a body that was looked at.
pub struct Judgement {
    /// The lines that are kept.
    pub kept: String,
    /// A whole answer; none hangs up.
    pub answer: Option<String>,
}

impl Judgement {
    /// Keeps everything and answers 204.
    pub fn taken(text: &str) -> Self {
        Self { kept: text.to_owned(), answer: Some(NO_CONTENT.to_owned()) }
    }

    /// Keeps these lines, and answers this status with this body and these headers.
    pub fn refused(kept: String, status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        let answer = format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {length}\r\n\r\n{body}");
        Self { kept, answer: Some(answer) }
    }
}

const NO_CONTENT: &str = "HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.6.7\r\n\r\n";

/// One body that was accepted.
#[derive(Clone, Debug)]
pub struct Accepted {
    /// The request's target, with its query.
    pub target: String,
    /// The plain lines.
    pub text: String,
    /// When it was accepted.
    pub at: Instant,
}

/// See the module's documentation. Dropping it closes everything.
pub struct Receiver {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Default)]
struct State {
    inner: Mutex<Inner>,
    changed: Condvar,
}

struct Inner {
    manner: Manner,
    up: bool,
    generation: u64,
    accepted: Vec<Accepted>,
    requests: Vec<Instant>,
    in_flight: usize,
    in_flight_max: usize,
    connections: HashMap<u64, TcpStream>,
    next_connection: u64,
}

impl Default for Inner {
    fn default() -> Self {
        Self {
            manner: Manner::Accept,
            up: false,
            generation: 0,
            accepted: Vec::new(),
            requests: Vec::new(),
            in_flight: 0,
            in_flight_max: 0,
            connections: HashMap::new(),
            next_connection: 0,
        }
    }
}

impl Receiver {
    /// A receiver on a free port that accepts everything.
    pub fn start() -> Self {
        let listener = bind_lasting();
        let receiver = Self::at(&listener);
        receiver.listen_on(listener);
        receiver
    }

    /// A receiver that has chosen its port and refuses connections.
    pub fn start_down() -> Self {
        Self::at(&bind_lasting())
    }

    fn at(listener: &TcpListener) -> Self {
        let address = listener.local_addr().expect("a bound socket has an address");
        Self { address, state: Arc::default() }
    }

    /// The root URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Listens, on the same port as always.
    pub fn come_up(&self) {
        self.listen_on(TcpListener::bind(self.address).expect("the port is still free"));
    }

    fn listen_on(&self, listener: TcpListener) {
        let generation = {
            let mut inner = self.state.inner.lock().unwrap();
            inner.up = true;
            inner.generation += 1;
            inner.generation
        };
        let state = Arc::clone(&self.state);
        std::thread::spawn(move || listen(&listener, &state, generation));
    }

    /// Listens, unless it does.
    pub fn come_up_if_down(&self) {
        if !self.state.inner.lock().unwrap().up {
            self.come_up();
        }
    }

    /// Stops listening and cuts every connection: from now on connections are refused.
    pub fn go_down(&self) {
        let mut inner = self.state.inner.lock().unwrap();
        if !inner.up {
            return;
        }
        inner.up = false;
        inner.generation += 1;
        for connection in inner.connections.values() {
            let _ = connection.shutdown(std::net::Shutdown::Both);
        }
        self.state.changed.notify_all();
        drop(inner);
        // Wakes the listening thread, which closes its socket when it sees that it is of the past.
        let _ = TcpStream::connect(self.address);
        let mut inner = self.state.inner.lock().unwrap();
        while !inner.connections.is_empty() || inner.in_flight > 0 {
            inner = self.state.changed.wait(inner).unwrap();
        }
        drop(inner);
        while TcpStream::connect(self.address).is_ok() {
            std::thread::yield_now();
        }
    }

    /// Changes what is done with requests from now on.
    pub fn set_manner(&self, manner: Manner) {
        self.state.inner.lock().unwrap().manner = manner;
        self.state.changed.notify_all();
    }

    /// The bodies that were accepted, in order.
    pub fn accepted(&self) -> Vec<Accepted> {
        self.state.inner.lock().unwrap().accepted.clone()
    }

    /// The lines that were accepted, in order. Only right while no string field holds a newline.
    pub fn lines(&self) -> Vec<String> {
        let inner = self.state.inner.lock().unwrap();
        inner.accepted.iter().flat_map(|body| body.text.lines().map(str::to_owned)).collect()
    }

    /// When requests came in.
    pub fn requests(&self) -> Vec<Instant> {
        self.state.inner.lock().unwrap().requests.clone()
    }

    /// The most requests that were under way at once.
    pub fn in_flight_max(&self) -> usize {
        self.state.inner.lock().unwrap().in_flight_max
    }

    /// Waits until so many lines were accepted, resends counted, and returns whether they were in time.
    pub fn wait_for_lines(&self, lines: usize, deadline: Duration) -> bool {
        self.wait_until(deadline, |accepted, _| {
            accepted.iter().map(|body| body.text.lines().count()).sum::<usize>() >= lines
        })
    }

    /// Waits until so many requests have come in.
    pub fn wait_for_requests(&self, requests: usize, deadline: Duration) -> bool {
        self.wait_until(deadline, |_, seen| seen >= requests)
    }

    fn wait_until(&self, deadline: Duration, mut done: impl FnMut(&[Accepted], usize) -> bool) -> bool {
        let end = Instant::now() + deadline;
        let mut inner = self.state.inner.lock().unwrap();
        while !done(&inner.accepted, inner.requests.len()) {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            inner = self.state.changed.wait_timeout(inner, left).unwrap().0;
        }
        true
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.set_manner(Manner::HangUp);
        self.go_down();
    }
}

/// Binds a port that stays free while it is let go of: below those that systems give to connections (from 32,768 on).
fn bind_lasting() -> TcpListener {
    let mut ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_000));
    ports.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).expect("a free port")
}

fn listen(listener: &TcpListener, state: &Arc<State>, generation: u64) {
    for connection in listener.incoming() {
        let Ok(connection) = connection else { continue };
        let mut inner = state.inner.lock().unwrap();
        if inner.generation != generation {
            return;
        }
        let id = inner.next_connection;
        inner.next_connection += 1;
        inner.connections.insert(id, connection.try_clone().expect("a socket can be cloned"));
        drop(inner);
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            let _ = serve(&connection, &state);
            let _ = connection.shutdown(std::net::Shutdown::Both);
            state.inner.lock().unwrap().connections.remove(&id);
            state.changed.notify_all();
        });
    }
}

fn serve(connection: &TcpStream, state: &State) -> io::Result<()> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::with_capacity(64 << 10, connection);
    while let Some(request) = read_request(&mut reader)? {
        {
            let mut inner = state.inner.lock().unwrap();
            inner.requests.push(Instant::now());
            inner.in_flight += 1;
            inner.in_flight_max = inner.in_flight_max.max(inner.in_flight);
            state.changed.notify_all();
        }
        let answered = answer(connection, state, request);
        state.inner.lock().unwrap().in_flight -= 1;
        state.changed.notify_all();
        answered?;
    }
    Ok(())
}

struct Request {
    target: String,
    text: String,
}

fn read_request(reader: &mut BufReader<&TcpStream>) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let (mut length, mut gzip) = (0, false);
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let header = line.trim_end().to_ascii_lowercase();
        if header.is_empty() {
            break;
        }
        match header.split_once(": ") {
            Some(("content-length", value)) => length = value.parse().unwrap_or(0),
            Some(("content-encoding", "gzip")) => gzip = true,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    if gzip {
        body = gunzip(&body);
    }
    Ok(Some(Request { target, text: String::from_utf8(body).expect("bodies are UTF-8") }))
}

fn answer(mut connection: &TcpStream, state: &State, request: Request) -> io::Result<()> {
    let mut inner = state.inner.lock().unwrap();
    while matches!(inner.manner, Manner::Silence) && inner.up {
        inner = state.changed.wait(inner).unwrap();
    }
    if !inner.up {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    if let Manner::Judge(judge) = inner.manner.clone() {
        // Not under the lock: it may take its time.
        drop(inner);
        let Judgement { kept, answer } = judge(&request.text);
        let accepted = Accepted { target: request.target, text: kept, at: Instant::now() };
        state.inner.lock().unwrap().accepted.push(accepted);
        state.changed.notify_all();
        let answer = answer.ok_or(io::ErrorKind::ConnectionAborted)?;
        return connection.write_all(answer.as_bytes());
    }
    let refusal = match &inner.manner {
        Manner::RefuseLinesWith(text) if request.text.contains(text) => Some((
            400,
            format!(r#"{{"error":"partial write: unable to parse '{text}': invalid number dropped=0"}}"#),
        )),
        Manner::Answer(status, body) => Some((*status, body.clone())),
        _ => None,
    };
    let hang_up = matches!(inner.manner, Manner::HangUp | Manner::AcceptAndHangUp);
    let accept =
        matches!(inner.manner, Manner::Accept | Manner::AcceptAndHangUp | Manner::RefuseLinesWith(_));
    if accept && refusal.is_none() {
        inner.accepted.push(Accepted { target: request.target, text: request.text, at: Instant::now() });
    }
    drop(inner);
    state.changed.notify_all();
    if hang_up {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let response = match refusal {
        None => NO_CONTENT.to_owned(),
        Some((status, body)) => format!(
            "HTTP/1.1 {status} Status\r\nContent-Type: application/json\r\nX-Influxdb-Version: 1.6.7\r\n\
             Content-Length: {}\r\n\r\n{body}",
            body.len()
        ),
    };
    connection.write_all(response.as_bytes())
}

/// The plain bytes of one gzip member.
pub fn gunzip(body: &[u8]) -> Vec<u8> {
    let tail: [u8; 4] = body[body.len() - 4..].try_into().expect("a gzip member ends in its length");
    let mut plain = vec![0; u32::from_le_bytes(tail) as usize];
    libdeflater::Decompressor::new().gzip_decompress(body, &mut plain).expect("bodies are gzip");
    plain
}
