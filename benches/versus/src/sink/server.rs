//! The sink's own process: one blocking thread a connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::mem;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};

use super::numbers::{Numbers, Reader, timestamps};
use super::remote_write;
use super::{Clock, Tally};

/// Bytes of compressed bodies that are kept for later. What comes beyond is unpacked as it comes.
const KEPT_BYTES_MAX: usize = 512 << 20;

const GOOD: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const BUSY: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";

/// Says where it listens, on standard output, and serves until it is killed.
pub fn serve(clock: Clock) -> Result<()> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("bind a port")?;
    println!("{}", listener.local_addr()?);
    std::io::stdout().flush()?;
    let arrived = Arc::new(Arrived::new(clock));
    for connection in listener.incoming() {
        let (arrived, connection) = (Arc::clone(&arrived), connection?);
        // A writer that goes away in the middle of a request is its own run's trouble: the points will be missing.
        thread::spawn(move || Connection::new(connection)?.serve(&arrived));
    }
    Ok(())
}

struct Arrived {
    clock: Clock,
    refusing: AtomicBool,
    requests: AtomicU64,
    body_bytes: AtomicU64,
    samples: AtomicU64,
    numbers: Mutex<Numbers>,
    delays: Mutex<Vec<i64>>,
    kept: Mutex<Kept>,
    /// Held by those who have answered a body and not yet read it, so that nothing is told before.
    reading: RwLock<()>,
}

#[derive(Default)]
struct Kept {
    bodies: Vec<Vec<u8>>,
    bytes: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Coding {
    Plain,
    Gzip,
    /// Remote write.
    Snappy,
}

impl Arrived {
    fn new(clock: Clock) -> Self {
        Self {
            clock,
            refusing: AtomicBool::default(),
            requests: AtomicU64::default(),
            body_bytes: AtomicU64::default(),
            samples: AtomicU64::default(),
            numbers: Mutex::default(),
            delays: Mutex::default(),
            kept: Mutex::default(),
            reading: RwLock::default(),
        }
    }

    /// Takes a body that came at this time. What is kept of it is taken out of it.
    fn take(&self, body: &mut Vec<u8>, coding: Coding, at: i64, scratch: &mut Scratch) -> Result<()> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        self.body_bytes.fetch_add(body.len() as u64, Ordering::Relaxed);
        match coding {
            Coding::Plain => {
                if self.clock == Clock::Read {
                    locked(&self.delays).extend(timestamps(body).map(|stamp| at - stamp));
                }
                self.read_lines(body, scratch);
            }
            Coding::Snappy => drop(self.samples.fetch_add(remote_write::samples(body)?, Ordering::Relaxed)),
            Coding::Gzip => {
                let mut kept = locked(&self.kept);
                if kept.bytes + body.len() <= KEPT_BYTES_MAX {
                    kept.bytes += body.len();
                    kept.bodies.push(mem::take(body));
                } else {
                    drop(kept);
                    self.unpack(body, scratch)?;
                }
            }
        }
        Ok(())
    }

    fn read_lines(&self, lines: &[u8], scratch: &mut Scratch) {
        scratch.reader.read(lines, &mut scratch.numbers);
        locked(&self.numbers).note(&scratch.numbers);
    }

    fn unpack(&self, body: &[u8], scratch: &mut Scratch) -> Result<()> {
        // RFC 1952: a member ends with the length of what it holds, and every body is one member.
        let length = body.last_chunk().map_or(0, |tail| u32::from_le_bytes(*tail));
        let mut lines = mem::take(&mut scratch.lines);
        lines.resize(length as usize, 0);
        libdeflater::Decompressor::new().gzip_decompress(body, &mut lines).context("unpack gzip")?;
        self.read_lines(&lines, scratch);
        scratch.lines = lines;
        Ok(())
    }

    fn unpack_kept(&self) -> Result<()> {
        let mut scratch = Scratch::new();
        let kept = mem::take(&mut *locked(&self.kept));
        kept.bodies.iter().try_for_each(|body| self.unpack(body, &mut scratch))
    }

    fn tally(&self) -> Tally {
        let _read = self.reading.write().unwrap_or_else(PoisonError::into_inner);
        let mut delays = locked(&self.delays).clone();
        delays.sort_unstable();
        let numbers = locked(&self.numbers);
        Tally {
            requests: self.requests.load(Ordering::Relaxed),
            body_bytes: self.body_bytes.load(Ordering::Relaxed),
            lines: numbers.lines,
            distinct: numbers.distinct,
            samples: self.samples.load(Ordering::Relaxed),
            delays,
        }
    }
}

/// What a connection uses again and again.
struct Scratch {
    reader: Reader,
    numbers: Vec<u64>,
    lines: Vec<u8>,
}

impl Scratch {
    fn new() -> Self {
        Self { reader: Reader::new(), numbers: Vec::new(), lines: Vec::new() }
    }
}

struct Connection {
    reader: BufReader<TcpStream>,
    writer: TcpStream,
    scratch: Scratch,
    body: Vec<u8>,
}

struct Request {
    path: String,
    length: usize,
    coding: Coding,
}

impl Connection {
    fn new(stream: TcpStream) -> Result<Self> {
        stream.set_nodelay(true)?;
        let writer = stream.try_clone()?;
        let reader = BufReader::with_capacity(64 << 10, stream);
        Ok(Self { reader, writer, scratch: Scratch::new(), body: Vec::new() })
    }

    fn serve(mut self, arrived: &Arrived) -> Result<()> {
        while let Some(request) = self.head()? {
            self.body.resize(request.length, 0);
            self.reader.read_exact(&mut self.body)?;
            match request.path.as_str() {
                "/tally" => {
                    // Its first call waits until all that was answered is at least kept.
                    drop(arrived.tally());
                    arrived.unpack_kept()?;
                    return self.answer(&serde_json::to_string(&arrived.tally())?);
                }
                "/glance" => return self.answer(&serde_json::to_string(&arrived.tally())?),
                "/refuse" => {
                    arrived.refusing.store(true, Ordering::SeqCst);
                    return self.answer("");
                }
                "/accept" => {
                    arrived.refusing.store(false, Ordering::SeqCst);
                    return self.answer("");
                }
                "/ping" => self.writer.write_all(GOOD)?,
                _ if arrived.refusing.load(Ordering::SeqCst) => self.writer.write_all(BUSY)?,
                _ => {
                    let at = now();
                    let _reading = arrived.reading.read().unwrap_or_else(PoisonError::into_inner);
                    // What can be put off until after the answer is: the writer waits for that.
                    self.writer.write_all(GOOD)?;
                    arrived.take(&mut self.body, request.coding, at, &mut self.scratch)?;
                }
            }
        }
        Ok(())
    }

    fn head(&mut self) -> Result<Option<Request>> {
        let mut line = String::new();
        if self.reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        let path = line.split([' ', '?']).nth(1).context("find the path")?.to_owned();
        let mut request = Request { path, length: 0, coding: Coding::Plain };
        loop {
            line.clear();
            if self.reader.read_line(&mut line)? == 0 {
                bail!("a head that is cut off");
            }
            let Some((name, value)) = line.split_once(':') else { return Ok(Some(request)) };
            let value = value.trim();
            match name.to_ascii_lowercase().as_str() {
                "content-length" => request.length = value.parse()?,
                "transfer-encoding" => bail!("bodies in chunks are not read here"),
                "content-encoding" => request.coding = coding(value)?,
                _ => {}
            }
        }
    }

    fn answer(&mut self, text: &str) -> Result<()> {
        write!(self.writer, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{text}", text.len())?;
        Ok(())
    }
}

fn coding(name: &str) -> Result<Coding> {
    match name {
        "identity" => Ok(Coding::Plain),
        "gzip" => Ok(Coding::Gzip),
        "snappy" => Ok(Coding::Snappy),
        other => bail!("content-encoding {other}"),
    }
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos() as i64
}

/// Another thread's panic says nothing of what is counted here.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
