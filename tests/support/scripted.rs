//! A server that does what it is told, byte for byte: recorded answers, and every way to misbehave.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read as _, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::receiver::gunzip;

/// What InfluxDB 1.x answers when it has taken the points.
pub const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.6.7\r\n\r\n";

/// One request. The body is plain, and empty where it was not read, or not to its end.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection it came by, from 0 on.
    pub connection: u64,
    pub at: Instant,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(each, _)| each == name).map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("bodies are UTF-8")
    }
}

/// What is done with one request.
#[derive(Clone, Debug)]
pub struct Script {
    pub read: Read,
    pub steps: Vec<Step>,
}

/// How much of the body is read before the steps are taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    Nothing,
    /// So many bytes of it.
    Bytes(usize),
    All,
}

/// One thing to do with the connection. After the last step the next request is read from it.
#[derive(Clone, Debug)]
pub enum Step {
    Send(Vec<u8>),
    /// One byte a second.
    Drip(Vec<u8>),
    /// Again and again until the peer has had enough.
    Flood(Vec<u8>),
    /// Nothing, until the peer has had enough.
    Stall,
    /// Nothing, for so long.
    Pause(Duration),
    /// An orderly end.
    Close,
    /// An end without order.
    Reset,
    /// Passes everything to this address and back, as after a `CONNECT`.
    Tunnel(String),
}

impl Script {
    /// Reads the whole request and sends these bytes.
    pub fn answer(bytes: impl Into<Vec<u8>>) -> Self {
        Self::steps([Step::Send(bytes.into())])
    }

    /// Reads the whole request and takes these steps.
    pub fn steps(steps: impl Into<Vec<Step>>) -> Self {
        Self { read: Read::All, steps: steps.into() }
    }

    /// A whole answer with a body.
    pub fn status(status: u16, headers: &str, body: &str) -> Self {
        let length = body.len();
        Self::answer(format!("HTTP/1.1 {status} Status\r\n{headers}Content-Length: {length}\r\n\r\n{body}"))
    }
}

/// See the module's documentation. Dropping it closes everything.
pub struct Scripted {
    address: SocketAddr,
    state: Arc<State>,
}

/// What to do with a request, by its number and its head.
type Choice = dyn Fn(usize, &Seen) -> Script + Send + Sync;

struct State {
    script: Box<Choice>,
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    seen: Vec<Seen>,
    asked: usize,
    closed: bool,
    connections: HashMap<u64, TcpStream>,
    connections_made: u64,
}

impl Scripted {
    /// A server on a free port. `script` is asked what to do with each request as soon as its head is there: it is given the
    /// request's number, from 0 on, and its head.
    pub fn start(script: impl Fn(usize, &Seen) -> Script + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("a bound socket has an address");
        let state =
            Arc::new(State { script: Box::new(script), inner: Mutex::default(), changed: Condvar::new() });
        let serving = Arc::clone(&state);
        std::thread::spawn(move || listen(&listener, &serving));
        Self { address, state }
    }

    /// Takes the first script for the first request and so on; the last one for all that follow.
    pub fn playing(scripts: impl Into<Vec<Script>>) -> Self {
        let scripts = scripts.into();
        Self::start(move |number, _| scripts[number.min(scripts.len() - 1)].clone())
    }

    /// The root URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Every request whose body was read as far as it was to be.
    pub fn seen(&self) -> Vec<Seen> {
        self.state.lock().seen.clone()
    }

    /// Waits until so many requests were seen; whether that came about.
    pub fn wait_for_requests(&self, count: usize, within: Duration) -> bool {
        let inner = self.state.lock();
        let too_few = |inner: &mut Inner| inner.seen.len() < count;
        let (_inner, waited) = self.state.changed.wait_timeout_while(inner, within, too_few).unwrap();
        !waited.timed_out()
    }

    /// How many connections were made so far.
    pub fn connections(&self) -> u64 {
        self.state.lock().connections_made
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        let mut inner = self.state.lock();
        inner.closed = true;
        for connection in inner.connections.values() {
            let _ = connection.shutdown(Shutdown::Both);
        }
        drop(inner);
        self.state.changed.notify_all();
        // Wakes the listener, so that it ends.
        let _ = TcpStream::connect(self.address);
    }
}

impl State {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// Lets time pass, or less if the server is dropped; whether it still stands.
    fn pause(&self, time: Duration) -> bool {
        let still = |inner: &mut Inner| !inner.closed;
        let (inner, _) = self.changed.wait_timeout_while(self.lock(), time, still).unwrap();
        !inner.closed
    }
}

fn listen(listener: &TcpListener, state: &Arc<State>) {
    for connection in listener.incoming() {
        let Ok(connection) = connection else { continue };
        let mut inner = state.lock();
        if inner.closed {
            return;
        }
        let id = inner.connections_made;
        inner.connections_made += 1;
        inner.connections.insert(id, connection.try_clone().expect("a socket can be cloned"));
        drop(inner);
        let state = Arc::clone(state);
        std::thread::spawn(move || {
            let end = serve(&connection, id, &state);
            // The other handle first: the connection ends, in whichever way, with the last of them.
            state.lock().connections.remove(&id);
            if end.is_ok_and(|end| end == End::Reset) {
                let _ = socket2::SockRef::from(&connection).set_linger(Some(Duration::ZERO));
            } else {
                let _ = connection.shutdown(Shutdown::Both);
            }
        });
    }
}

/// How a connection is to end.
#[derive(PartialEq, Eq)]
enum End {
    Close,
    Reset,
}

fn serve(connection: &TcpStream, id: u64, state: &State) -> io::Result<End> {
    connection.set_nodelay(true)?;
    let mut reader = BufReader::new(connection);
    while let Some((mut seen, length)) = read_head(&mut reader, id)? {
        let script = {
            let mut inner = state.lock();
            inner.asked += 1;
            let number = inner.asked - 1;
            drop(inner);
            (state.script)(number, &seen)
        };
        seen.body = read_body(&mut reader, script.read, length, &seen)?;
        state.lock().seen.push(seen);
        state.changed.notify_all();
        for step in script.steps {
            if let Some(end) = take(connection, &mut reader, step, state)? {
                return Ok(end);
            }
        }
    }
    Ok(End::Close)
}

fn take(
    mut connection: &TcpStream,
    reader: &mut BufReader<&TcpStream>,
    step: Step,
    state: &State,
) -> io::Result<Option<End>> {
    match step {
        Step::Send(bytes) => connection.write_all(&bytes)?,
        Step::Drip(bytes) => {
            for byte in bytes {
                connection.write_all(&[byte])?;
                if !state.pause(Duration::from_secs(1)) {
                    return Ok(Some(End::Close));
                }
            }
        }
        Step::Flood(bytes) => loop {
            connection.write_all(&bytes)?;
        },
        Step::Stall => {
            io::copy(reader, &mut io::sink())?;
        }
        Step::Pause(time) => {
            if !state.pause(time) {
                return Ok(Some(End::Close));
            }
        }
        Step::Close => return Ok(Some(End::Close)),
        Step::Reset => return Ok(Some(End::Reset)),
        Step::Tunnel(address) => {
            tunnel(connection, reader, &address)?;
            return Ok(Some(End::Close));
        }
    }
    Ok(None)
}

fn tunnel(mut connection: &TcpStream, reader: &mut BufReader<&TcpStream>, address: &str) -> io::Result<()> {
    let server = TcpStream::connect(address)?;
    let (mut from_server, mut to_client) = (server.try_clone()?, connection.try_clone()?);
    connection.write_all(b"HTTP/1.1 200 Connected\r\n\r\n")?;
    let back = std::thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
    let _ = io::copy(reader, &mut &server);
    let _ = server.shutdown(Shutdown::Both);
    let _ = back.join();
    Ok(())
}

/// The head of a request and the length of its body.
fn read_head(reader: &mut BufReader<&TcpStream>, connection: u64) -> io::Result<Option<(Seen, usize)>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split(' ').map(str::to_owned);
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let mut headers = Vec::new();
    loop {
        line.clear();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.push((name.to_ascii_lowercase(), value.to_owned()));
    }
    let seen = Seen { method, target, headers, body: Vec::new(), connection, at: Instant::now() };
    let length = seen.header("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    Ok(Some((seen, length)))
}

fn read_body(
    reader: &mut BufReader<&TcpStream>,
    read: Read,
    length: usize,
    seen: &Seen,
) -> io::Result<Vec<u8>> {
    let wanted = match read {
        Read::Nothing => 0,
        Read::Bytes(bytes) => bytes.min(length),
        Read::All => length,
    };
    let mut body = vec![0; wanted];
    reader.read_exact(&mut body)?;
    if wanted < length {
        return Ok(Vec::new());
    }
    let is_gzip = seen.header("content-encoding") == Some("gzip");
    Ok(if is_gzip { gunzip(&body) } else { body })
}
