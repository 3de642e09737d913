//! Whole lines in datagrams of bounded size.

use bytes::Bytes;

use super::division::Lines;

/// How the lines of a batch travel by UDP.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Datagrams {
    /// Each holds whole lines, in order.
    pub(crate) bodies: Vec<Bytes>,
    /// The indexes of lines that are longer than a datagram may be.
    pub(crate) left: Vec<u32>,
}

impl Datagrams {
    /// Packs lines into datagrams of at most `bytes_max`. The newline that ends the last line of a datagram is left out:
    /// InfluxDB needs none there.
    pub(crate) fn of(lines: &Lines, bytes_max: usize) -> Self {
        let mut datagrams = Self::default();
        let mut open: Option<(u32, u32, usize)> = None;
        for index in lines.all() {
            let bytes = lines.get(index).len();
            // The datagram's own last newline does not count.
            if bytes > bytes_max + 1 {
                datagrams.close(lines, open.take());
                datagrams.left.push(index);
                continue;
            }
            open = match open {
                Some((first, _, held)) if held + bytes <= bytes_max + 1 => Some((first, index, held + bytes)),
                other => {
                    datagrams.close(lines, other);
                    Some((index, index, bytes))
                }
            };
        }
        datagrams.close(lines, open);
        datagrams
    }

    fn close(&mut self, lines: &Lines, open: Option<(u32, u32, usize)>) {
        if let Some((first, last, bytes)) = open {
            self.bodies.push(lines.slice(first, last).slice(..bytes - 1));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::machines::division::tests::lines_of;

    proptest! {
        #[test]
        fn no_datagram_is_too_large_and_no_line_is_split(
            lengths in prop::collection::vec(1..200_usize, 1..80),
            bytes_max in 8..300_usize,
        ) {
            let texts: Vec<String> =
                lengths.iter().map(|length| format!("m s=\"{}\n\" 1\n", "x".repeat(*length))).collect();
            let lines = lines_of(&texts.iter().map(String::as_str).collect::<Vec<_>>());
            let Datagrams { bodies, left } = Datagrams::of(&lines, bytes_max);
            let long = |index: &usize| texts[*index].len() - 1 > bytes_max;
            let wants: Vec<u32> = (0..texts.len()).filter(long).map(|index| index as u32).collect();
            prop_assert_eq!(&left, &wants);
            let mut arrived = Vec::new();
            for body in &bodies {
                prop_assert!(!body.is_empty() && body.len() <= bytes_max);
                let mut whole = body.to_vec();
                whole.push(b'\n');
                arrived.push(whole);
            }
            let short: String = (0..texts.len()).filter(|index| !long(index)).map(|index| &*texts[index]).collect();
            prop_assert_eq!(arrived.concat(), short.as_bytes());
            for body in &arrived {
                let ends = texts.iter().any(|text| body.ends_with(text.as_bytes()));
                let begins = texts.iter().any(|text| body.starts_with(text.as_bytes()));
                prop_assert!(begins && ends);
            }
            // None could have taken the first line of the next, unless a long one stood between them.
            for pair in arrived.windows(2).filter(|_| left.is_empty()) {
                let next = texts.iter().find(|text| pair[1].starts_with(text.as_bytes())).unwrap();
                prop_assert!(pair[0].len() + next.len() - 1 > bytes_max);
            }
        }
    }
}
