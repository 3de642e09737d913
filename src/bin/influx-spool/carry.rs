//! Cuts a stream of bytes where points end.

/// What may wait for its end, at most: a point this long would be refused anyway, since a request holds no more
/// (`batch.bytes_max`, 2 MiB).
pub(crate) const LINE_BYTES_MAX: usize = 2 << 20;

/// Holds back the end of what was read until the rest of its last point has come.
///
/// Bounded: holds little more than twice [`LINE_BYTES_MAX`].
#[derive(Debug, Default)]
pub(crate) struct Carry {
    bytes: Vec<u8>,
    /// Within a line that was given up as too long.
    skipping: bool,
}

/// A part of the stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Piece {
    /// Whole lines.
    Lines(Vec<u8>),
    /// A line of more than [`LINE_BYTES_MAX`] begins here, and is left out.
    Overlong,
}

impl Carry {
    pub(crate) fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
    }

    /// The next part that is whole, if there is one. `whole` says how much of a text that ends with a newline holds
    /// points that nothing behind it could change.
    pub(crate) fn next_piece(&mut self, whole: impl Fn(&[u8]) -> usize) -> Option<Piece> {
        self.skip();
        let lines = self.bytes.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1);
        let overlong = self.bytes.len() - lines > LINE_BYTES_MAX;
        if overlong && lines == 0 {
            self.bytes.clear();
            self.skipping = true;
            return Some(Piece::Overlong);
        }
        let mut end = whole(&self.bytes[..lines]);
        if overlong || lines - end > LINE_BYTES_MAX {
            end = lines;
        }
        if end == 0 {
            return None;
        }
        let rest = self.bytes.split_off(end);
        Some(Piece::Lines(std::mem::replace(&mut self.bytes, rest)))
    }

    /// What is left at the end of the stream.
    pub(crate) fn rest(mut self) -> Vec<u8> {
        self.skip();
        self.bytes
    }

    fn skip(&mut self) {
        if !self.skipping {
            return;
        }
        match self.bytes.iter().position(|byte| *byte == b'\n') {
            // The newline stays: it ends the line that was left out, and lines are counted by it.
            Some(at) => {
                self.bytes.drain(..at);
                self.skipping = false;
            }
            None => self.bytes.clear(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Option<Piece> {
        Some(Piece::Lines(text.into()))
    }

    #[test]
    fn what_has_not_ended_is_held_back() {
        let mut carry = Carry::default();
        carry.add(b"a\nb\nc");
        assert_eq!(carry.next_piece(<[u8]>::len), lines("a\nb\n"));
        assert_eq!(carry.next_piece(<[u8]>::len), None);
        carry.add(b"d\ne");
        assert_eq!(carry.next_piece(|_| 0), None);
        assert_eq!(carry.next_piece(<[u8]>::len), lines("cd\n"));
        assert_eq!(carry.rest(), b"e");
    }

    #[test]
    fn what_never_ends_is_given_up() {
        let long = vec![b'x'; LINE_BYTES_MAX + 1];
        let mut carry = Carry::default();
        carry.add(b"a\n");
        carry.add(&long);
        assert_eq!(carry.next_piece(|_| 0), lines("a\n"));
        assert_eq!(carry.next_piece(|_| 0), Some(Piece::Overlong));
        carry.add(b"xx");
        assert_eq!(carry.next_piece(|_| 0), None);
        assert!(carry.bytes.is_empty());
        carry.add(b"xx\nb\n");
        assert_eq!(carry.next_piece(<[u8]>::len), lines("\nb\n"));
    }

    #[test]
    fn an_open_quote_is_waited_for_only_so_long() {
        let mut carry = Carry::default();
        carry.add(&b"x\n".repeat(LINE_BYTES_MAX / 2));
        assert_eq!(carry.next_piece(|_| 0), None);
        carry.add(b"y\nz");
        assert!(matches!(carry.next_piece(|_| 0), Some(Piece::Lines(_))));
        assert_eq!(carry.rest(), b"z");
    }
}
