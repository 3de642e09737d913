//! From the words of a server to the lines it means.

use std::collections::HashMap;

use super::Lines;
use crate::machines::verdict::{Blame, Cause, LineName, NamedLine, Refusal};

/// A refusal of a part of a batch, with the lines it names found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Complaint {
    pub(crate) refusal: Refusal,
    /// In no particular order, none twice. Empty where nothing was named that is there.
    pub(crate) named: Vec<BadLine>,
}

/// A line that the server has named.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct BadLine {
    pub(crate) index: u32,
    pub(crate) cause: Cause,
    pub(crate) words: String,
}

impl Complaint {
    /// Looks up the lines that a refusal of `part` names. What is not found there is not believed: then the server
    /// names nothing.
    pub(crate) fn new(lines: &Lines, part: &[u32], refusal: Refusal) -> Self {
        let named = match &refusal.blame {
            Blame::Named(names) => locate(lines, part, names),
            _ => Vec::new(),
        };
        Self { refusal, named }
    }
}

fn locate(lines: &Lines, part: &[u32], names: &[NamedLine]) -> Vec<BadLine> {
    let by_text = names.iter().any(|named| matches!(named.name, LineName::Text(_)));
    let by_number = names.iter().any(|named| matches!(named.name, LineName::Number { .. }));
    let texts = if by_text { index_texts(lines, part) } else { HashMap::new() };
    let numbers = if by_number { physical_numbers(lines, part) } else { Vec::new() };
    let mut found: HashMap<u32, &NamedLine> = HashMap::new();
    for named in names {
        match &named.name {
            LineName::Text(text) => {
                // A line that stands there twice is bad both times.
                for index in texts.get(text.as_bytes().trim_ascii()).into_iter().flatten() {
                    found.entry(*index).or_insert(named);
                }
            }
            LineName::Number { number, begin } => {
                let nth = numbers.partition_point(|first| first <= number).checked_sub(1);
                let index = nth.and_then(|nth| part.get(nth)).copied();
                if let Some(index) = index.filter(|index| begins_with(lines.get(*index), begin.as_deref())) {
                    found.entry(index).or_insert(named);
                }
            }
        }
    }
    found
        .into_iter()
        .map(|(index, named)| BadLine { index, cause: named.cause, words: named.words.clone() })
        .collect()
}

fn index_texts<'a>(lines: &'a Lines, part: &[u32]) -> HashMap<&'a [u8], Vec<u32>> {
    let mut texts: HashMap<&[u8], Vec<u32>> = HashMap::with_capacity(part.len());
    for index in part {
        texts.entry(lines.get(*index).trim_ascii()).or_default().push(*index);
    }
    texts
}

/// The number, from 1 on, that each line of the part has as InfluxDB 3 counts (a newline in a string counts, too), and
/// the one that a further line would have.
fn physical_numbers(lines: &Lines, part: &[u32]) -> Vec<u64> {
    let mut numbers = vec![1];
    let mut next = 1;
    for index in part {
        next += lines.get(*index).iter().filter(|byte| **byte == b'\n').count() as u64;
        numbers.push(next);
    }
    numbers
}

/// Whether the server means this line. It may tell the first bytes of it, cut anywhere, or of a line within it.
fn begins_with(line: &[u8], begin: Option<&str>) -> bool {
    let Some(begin) = begin else { return true };
    let begin = begin.trim_end_matches(['\u{fffd}', '\n', '\r']).as_bytes();
    line.split(|byte| *byte == b'\n').any(|physical| physical.starts_with(begin))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machines::division::tests::lines_of;

    fn complaint(part: &[u32], names: Vec<LineName>) -> Vec<u32> {
        let lines = lines_of(&["a v=1 1\n", "b v=\"x\ny\" 2\n", "c v=3 3\n", "a v=1 1\n", "d v=4 4\n"]);
        let named = |name| NamedLine { name, cause: Cause::Malformed, words: "bad".into() };
        let blame = Blame::Named(names.into_iter().map(named).collect());
        let refusal = Refusal { status: 400, words: String::new(), cause: Cause::Malformed, blame };
        let found = Complaint::new(&lines, part, refusal).named;
        let mut indexes: Vec<u32> = found.iter().map(|bad| bad.index).collect();
        indexes.sort_unstable();
        indexes
    }

    fn text(text: &str) -> LineName {
        LineName::Text(text.into())
    }

    fn number(number: u64, begin: Option<&str>) -> LineName {
        LineName::Number { number, begin: begin.map(Into::into) }
    }

    #[test]
    fn a_line_named_by_its_text_is_found_wherever_it_stands() {
        assert_eq!(complaint(&[0, 1, 2, 3, 4], vec![text("b v=\"x\ny\" 2"), text("a v=1 1")]), [0, 1, 3]);
        assert_eq!(complaint(&[1, 3], vec![text("a v=1 1"), text("c v=3 3")]), [3], "only of what was sent");
    }

    #[test]
    fn a_line_named_by_its_number_is_counted_by_newlines() {
        assert_eq!(complaint(&[0, 1, 2, 3], vec![number(4, Some("c v"))]), [2]);
        assert_eq!(complaint(&[0, 1, 2, 3], vec![number(3, Some("y\""))]), [1], "within a string");
        assert_eq!(complaint(&[1, 2, 4], vec![number(4, None), number(1, None)]), [1, 4]);
    }

    #[test]
    fn what_is_not_there_is_not_believed() {
        assert_eq!(
            complaint(&[0, 1, 2], vec![number(3, Some("zzz")), number(0, None), text("e v=1")]),
            [0; 0]
        );
        assert_eq!(complaint(&[0], vec![number(2, None), number(99, None)]), [0; 0]);
    }
}
