//! Posts ready lines as fast as they are taken, for a writer that is a process of its own.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;

use anyhow::{Result, ensure};

pub struct Feeder {
    writer: TcpStream,
    reader: BufReader<TcpStream>,
}

impl Feeder {
    pub fn connect(address: &str) -> Result<Self> {
        let writer = TcpStream::connect(address)?;
        writer.set_nodelay(true)?;
        let reader = BufReader::new(writer.try_clone()?);
        Ok(Self { writer, reader })
    }

    /// Posts a body, and waits for its 204.
    pub fn post(&mut self, path: &str, body: &[u8]) -> Result<()> {
        write!(
            self.writer,
            "POST {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )?;
        self.writer.write_all(body)?;
        let mut line = String::new();
        self.reader.read_line(&mut line)?;
        ensure!(line.starts_with("HTTP/1.1 204"), "the answer was {line:?}");
        while line != "\r\n" {
            line.clear();
            ensure!(self.reader.read_line(&mut line)? > 0, "an answer that is cut off");
        }
        Ok(())
    }
}
