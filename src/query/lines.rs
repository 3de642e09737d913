//! An answer that comes as lines.

use super::error::QueryError;
use super::exchange::Pieces;

/// The lines of an answer on its way: a newline ends one, the end of the answer the last.
#[derive(Debug)]
pub(super) struct Lines {
    /// `None` after the end or an error.
    pieces: Option<Pieces>,
    buffer: Vec<u8>,
    /// Where the next line begins in the buffer.
    begin: usize,
    /// Up to where no newline was found.
    seen: usize,
    limit: usize,
}

impl Lines {
    /// `limit`: bytes that are kept of a line whose end has not come.
    pub(super) const fn new(pieces: Pieces, limit: usize) -> Self {
        Self { pieces: Some(pieces), buffer: Vec::new(), begin: 0, seen: 0, limit }
    }

    /// The next line that is not empty, without its newline.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub(super) async fn next(&mut self) -> Option<Result<Vec<u8>, QueryError>> {
        loop {
            if let Some(line) = self.take_line() {
                return Some(Ok(line));
            }
            if self.buffer.len() - self.begin > self.limit {
                return Some(Err(self.end_with(QueryError::TooLarge { limit: self.limit })));
            }
            let pieces = self.pieces.as_mut()?;
            match pieces.next().await {
                Some(Ok(piece)) => {
                    self.buffer.drain(..self.begin);
                    self.seen -= self.begin;
                    self.begin = 0;
                    self.buffer.extend_from_slice(&piece);
                }
                Some(Err(error)) => return Some(Err(self.end_with(error))),
                None => {
                    self.pieces = None;
                    let rest = self.buffer.split_off(self.begin);
                    self.buffer.clear();
                    (self.begin, self.seen) = (0, 0);
                    return (!rest.trim_ascii().is_empty()).then_some(Ok(rest));
                }
            }
        }
    }

    /// Ends it, for a reason that is passed through: nothing comes after an error.
    pub(super) fn end_with(&mut self, error: QueryError) -> QueryError {
        self.pieces = None;
        self.buffer = Vec::new();
        (self.begin, self.seen) = (0, 0);
        error
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        while let Some(length) = self.buffer[self.seen..].iter().position(|byte| *byte == b'\n') {
            let end = self.seen + length;
            let line = self.buffer[self.begin..end].to_vec();
            (self.begin, self.seen) = (end + 1, end + 1);
            if !line.trim_ascii().is_empty() {
                return Some(line);
            }
        }
        self.seen = self.buffer.len();
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn read(pieces: &[&str], limit: usize) -> Vec<Result<String, QueryError>> {
        let mut lines = Lines::new(Pieces::of(pieces), limit);
        let mut read = Vec::new();
        while let Some(line) = lines.next().await {
            read.push(line.map(|line| String::from_utf8(line).unwrap()));
        }
        read
    }

    #[tokio::test]
    async fn lines_are_cut_wherever_the_pieces_were() {
        let read = read(&["a\nb", "", "c\n\n \nd", "e"], 100).await;
        assert_eq!(read, [Ok("a".into()), Ok("bc".into()), Ok("de".into())]);
    }

    #[tokio::test]
    async fn an_endless_line_is_an_error() {
        let read = read(&["a\n", "12345", "67890", "1", "\nb\n"], 10).await;
        assert_eq!(read, [Ok("a".into()), Err(QueryError::TooLarge { limit: 10 })]);
    }
}
