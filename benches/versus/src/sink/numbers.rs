//! Which points have arrived.

use memchr::memmem::Finder;

use crate::lines::NUMBER_FIELD;

/// The numbers that were seen: a bit each.
#[derive(Debug, Default)]
pub struct Numbers {
    seen: Vec<u64>,
    pub lines: u64,
    pub distinct: u64,
}

impl Numbers {
    pub fn note(&mut self, numbers: &[u64]) {
        for number in numbers {
            let (word, bit) = ((number / 64) as usize, 1 << (number % 64));
            if word >= self.seen.len() {
                self.seen.resize((word + 1).next_power_of_two(), 0);
            }
            self.distinct += u64::from(self.seen[word] & bit == 0);
            self.seen[word] |= bit;
        }
        self.lines += numbers.len() as u64;
    }
}

/// Finds the number of each line.
#[derive(Clone, Debug)]
pub struct Reader {
    field: Finder<'static>,
}

impl Reader {
    pub fn new() -> Self {
        Self { field: Finder::new(&format!("{NUMBER_FIELD}=")).into_owned() }
    }

    /// Clears `numbers` and fills it with those of the lines.
    pub fn read(&self, lines: &[u8], numbers: &mut Vec<u64>) {
        numbers.clear();
        for place in self.field.find_iter(lines) {
            let digits = &lines[place + NUMBER_FIELD.len() + 1..];
            let number = digits.iter().take_while(|byte| byte.is_ascii_digit());
            numbers.push(number.fold(0, |number, digit| number * 10 + u64::from(digit - b'0')));
        }
    }
}

/// The timestamp of each line: the digits after its last space. Only for lines without a line feed in a string.
pub fn timestamps(lines: &[u8]) -> impl Iterator<Item = i64> {
    lines.split(|byte| *byte == b'\n').filter_map(|line| {
        let space = memchr::memrchr(b' ', line)?;
        std::str::from_utf8(&line[space + 1..]).ok()?.parse().ok()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lines::{Mix, text, timestamp};

    #[test]
    fn every_number_is_found_once_in_either_mix() {
        for mix in [Mix::Realistic, Mix::Hard] {
            let (lines, _) = text(mix, 7, 1_007).unwrap();
            let mut found = Vec::new();
            Reader::new().read(&lines, &mut found);
            assert_eq!(found, (7..1_007).collect::<Vec<_>>());
        }
    }

    #[test]
    fn numbers_that_come_twice_are_told_from_those_that_are_missing() {
        let mut numbers = Numbers::default();
        numbers.note(&[0, 1, 63, 64, 1]);
        assert_eq!((numbers.lines, numbers.distinct), (5, 4));
    }

    #[test]
    fn timestamps_are_what_was_written() {
        let (lines, _) = text(Mix::Realistic, 0, 100).unwrap();
        assert!(timestamps(&lines).eq((0..100).map(timestamp)));
    }
}
