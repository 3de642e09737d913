//! How large the pages of a file are, and what goes by that.
//!
//! A transaction writes some five pages beside its bodies, each as a whole. Where bodies are compressed (100 kB for 5,000 points) they
//! would be most of what is written, if they were large. Where bodies are not (850 kB), more pages take more time than fewer bytes
//! save: each has a frame of its own in the log, and a place in the tree. Measured durable and flat out, without compression: with
//! pages of 64 KiB a fifth more points a second than with 16, at a quarter less CPU time of the thread that writes, for a tenth more
//! bytes. But a point that is stored alone writes four times as much, and that it may be nobody knows beforehand: so those are for
//! who asks for them.

use crate::values::config::{Compression, PageSize};

/// Bytes of a page, smallest first; the last is the most that SQLite knows
/// (<https://www.sqlite.org/fileformat2.html#the_database_header>, offset 16).
pub(crate) const SIZES: [u64; 3] = [SMALL, MEDIUM, LARGE];
pub(super) const SMALL: u64 = 4 << 10;
pub(super) const MEDIUM: u64 = 16 << 10;
pub(super) const LARGE: u64 = 64 << 10;

/// So many are what the records of a full disk may write: five pages at the most for each, and some more where one deletes
/// thousands of rows.
const PAGES_OF_RECORDS: u64 = 64;

/// Of a file that is made for bodies like these.
pub(super) const fn bytes(size: PageSize, compression: Compression) -> u64 {
    match size {
        PageSize::Auto if matches!(compression, Compression::None) => MEDIUM,
        PageSize::Auto | PageSize::Small => SMALL,
        PageSize::Medium => MEDIUM,
        PageSize::Large => LARGE,
    }
}

/// What the header of a file says, in its two bytes for that: the largest size does not fit in.
pub(super) fn bytes_in_header(said: [u8; 2]) -> u64 {
    match u16::from_be_bytes(said) {
        1 => LARGE,
        bytes => bytes.into(),
    }
}

/// Room for records where there is no other: a mebibyte, or four where pages are of the largest size.
pub(super) fn records_bytes(page_bytes: u64) -> u64 {
    PAGES_OF_RECORDS * page_bytes.max(MEDIUM)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_pages_are_for_compressed_bodies_unless_others_are_asked_for() {
        for compression in [Compression::Auto, Compression::Gzip, Compression::None] {
            let of = |size| bytes(size, compression);
            assert_eq!([PageSize::Small, PageSize::Medium, PageSize::Large].map(of), SIZES);
        }
        let auto = |compression| bytes(PageSize::Auto, compression);
        assert_eq!(
            [Compression::Auto, Compression::Gzip, Compression::None].map(auto),
            [SMALL, SMALL, MEDIUM]
        );
    }

    #[test]
    fn the_header_says_each_of_the_sizes() {
        let said = [[0x10, 0], [0x40, 0], [0, 1]].map(bytes_in_header);
        assert_eq!(said, SIZES);
        assert!(!SIZES.contains(&bytes_in_header([0, 0])));
    }

    #[test]
    fn there_is_room_for_the_records_of_every_size() {
        assert_eq!(SIZES.map(records_bytes), [1 << 20, 1 << 20, 4 << 20]);
    }
}
