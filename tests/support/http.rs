//! Plain HTTP as a test asks for it: one request, one connection.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// Longer than any server of a test takes to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// An answer as it came: the status and the body.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Vec<u8>,
}

/// Makes one request at `127.0.0.1`. `headers` are whole lines, each with its line end.
pub fn request(port: u16, method: &str, target: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(("127.0.0.1", port))?;
    stream.set_read_timeout(Some(ANSWER_WITHIN))?;
    write!(
        stream,
        "{method} {target} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    )?;
    stream.write_all(body)?;
    read_answer(BufReader::new(stream))
}

pub fn percent_encoded(text: &str) -> String {
    text.bytes()
        .map(|byte| match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                char::from(byte).to_string()
            }
            other => format!("%{other:02X}"),
        })
        .collect()
}

fn read_answer(mut reader: impl BufRead) -> io::Result<Answer> {
    let broken = || io::Error::from(io::ErrorKind::InvalidData);
    let mut line = String::new();
    reader.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|word| word.parse().ok()).ok_or_else(broken)?;
    let mut is_chunked = false;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        is_chunked |= line.to_ascii_lowercase().starts_with("transfer-encoding: chunked");
        if line.trim_end().is_empty() {
            break;
        }
    }
    let mut body = Vec::new();
    if !is_chunked {
        reader.read_to_end(&mut body)?;
        return Ok(Answer { status, body });
    }
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        let length = u64::from_str_radix(line.trim_end(), 16).map_err(|_| broken())?;
        if length == 0 {
            return Ok(Answer { status, body });
        }
        reader.by_ref().take(length).read_to_end(&mut body)?;
        line.clear();
        reader.read_line(&mut line)?;
    }
}
