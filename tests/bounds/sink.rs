//! A server that takes points and keeps one bit of each, so that its memory is the same whatever it has seen.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};

const NO_CONTENT: &[u8] = b"HTTP/1.1 204 No Content\r\nX-Influxdb-Version: 1.6.7\r\n\r\n";

/// Clones are one.
#[derive(Clone)]
pub(crate) struct Sink {
    address: SocketAddr,
    seen: Arc<(Mutex<Seen>, Condvar)>,
}

struct Seen {
    /// One bit a point.
    arrived: Vec<u64>,
    points: u64,
    again: u64,
}

impl Sink {
    /// Has chosen its port, and refuses connections.
    pub(crate) fn start_down(points: u64) -> Self {
        // Below those that systems give to connections (from 32,768 on), so that it stays free.
        let mut ports = std::iter::repeat_with(|| fastrand::u16(20_000..32_000));
        let listener = ports.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()).unwrap();
        // All of it is written, so that it does not become resident later.
        let arrived = std::iter::repeat_with(|| std::hint::black_box(0)).take(points.div_ceil(64) as usize);
        let seen = Seen { arrived: arrived.collect(), points: 0, again: 0 };
        Self { address: listener.local_addr().unwrap(), seen: Arc::new((Mutex::new(seen), Condvar::new())) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn come_up(&self) {
        let listener = TcpListener::bind(self.address).unwrap();
        let sink = self.clone();
        std::thread::spawn(move || {
            for connection in listener.incoming() {
                let sink = sink.clone();
                std::thread::spawn(move || sink.serve(&connection.unwrap()));
            }
        });
    }

    /// Waits until so many different points have arrived.
    pub(crate) fn wait_for(&self, points: u64) {
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().unwrap();
        while seen.points < points {
            seen = changed.wait(seen).unwrap();
        }
    }

    pub(crate) fn check_all_once(&self) {
        let seen = self.seen.0.lock().unwrap();
        assert_eq!(seen.again, 0, "points arrived again");
    }

    fn serve(&self, connection: &TcpStream) {
        let mut reader = BufReader::with_capacity(64 << 10, connection);
        let (mut head, mut body, mut plain) = (String::new(), Vec::new(), Vec::new());
        let mut unzip = libdeflater::Decompressor::new();
        loop {
            let (mut length, mut gzip) = (0, false);
            loop {
                head.clear();
                if reader.read_line(&mut head).unwrap_or(0) == 0 {
                    return;
                }
                let header = head.trim_end().to_ascii_lowercase();
                match header.split_once(": ") {
                    Some(("content-length", value)) => length = value.parse().unwrap(),
                    Some(("content-encoding", "gzip")) => gzip = true,
                    _ if header.is_empty() => break,
                    _ => {}
                }
            }
            body.resize(length, 0);
            reader.read_exact(&mut body).unwrap();
            if gzip {
                let tail: [u8; 4] = body[length - 4..].try_into().unwrap();
                plain.resize(u32::from_le_bytes(tail) as usize, 0);
                unzip.gzip_decompress(&body, &mut plain).unwrap();
            } else {
                plain.clone_from(&body);
            }
            self.note(&plain);
            let mut connection = connection;
            connection.write_all(NO_CONTENT).unwrap();
        }
    }

    fn note(&self, lines: &[u8]) {
        let (seen, changed) = &*self.seen;
        let mut seen = seen.lock().unwrap();
        for line in std::str::from_utf8(lines).unwrap().lines() {
            let (_, after) = line.split_once(" n=").unwrap();
            let number: u64 = after.split('i').next().unwrap().parse().unwrap();
            let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
            if seen.arrived[word] & bit == 0 {
                seen.arrived[word] |= bit;
                seen.points += 1;
            } else {
                seen.again += 1;
            }
        }
        changed.notify_all();
    }
}
