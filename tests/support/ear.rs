//! A UDP listener that keeps what it hears.

use std::net::UdpSocket;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Instant;

/// Bytes of the receive buffer; the system gives what it allows.
const BUFFER_BYTES: usize = 8 << 20;

/// See the module's documentation.
pub struct Ear {
    address: String,
    heard: Arc<Mutex<Vec<(Instant, String)>>>,
    closed: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Ear {
    pub fn open() -> Self {
        let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        // Smaller is fine: senders keep to a pace.
        let _ = socket2::SockRef::from(&socket).set_recv_buffer_size(BUFFER_BYTES);
        let address = socket.local_addr().expect("a bound socket has an address").to_string();
        let (heard, closed) = <(Arc<Mutex<Vec<_>>>, Arc<AtomicBool>)>::default();
        let (keeping, ending) = (Arc::clone(&heard), Arc::clone(&closed));
        let thread = std::thread::spawn(move || {
            let mut datagram = vec![0; 65_536];
            while let Ok(length) = socket.recv(&mut datagram) {
                if ending.load(Ordering::Relaxed) {
                    return;
                }
                let text = String::from_utf8(datagram[..length].to_vec()).expect("lines are UTF-8");
                keeping.lock().unwrap().push((Instant::now(), text));
            }
        });
        Self { address, heard, closed, thread: Some(thread) }
    }

    pub fn address(&self) -> &str {
        &self.address
    }

    /// What was heard so far, datagram by datagram.
    pub fn heard(&self) -> Vec<(Instant, String)> {
        self.heard.lock().unwrap().clone()
    }

    /// The lines heard so far. Only right while no string field holds a newline.
    pub fn lines(&self) -> Vec<String> {
        self.heard().iter().flat_map(|(_, datagram)| datagram.lines().map(str::to_owned)).collect()
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        self.closed.store(true, Ordering::Relaxed);
        // Wakes the thread. One that is woken by the last datagram instead ends as well.
        let woken = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.send_to(b"x", &self.address));
        if let (Ok(_), Some(thread)) = (woken, self.thread.take()) {
            let _ = thread.join();
        }
    }
}
