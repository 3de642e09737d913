//! How far the log may grow, and how much of the file is kept in memory: by what one transaction writes.
//!
//! What a transaction writes the next few delete, and where the pages of a body are still in memory they need not be read for
//! that. Copying the log into the database stops everything for some milliseconds, and writes a page once however often
//! it was written before; so where transactions are large, it pays to let more of them gather. A spool that writes little needs
//! neither, and there may be thousands of those.
//!
//! Measured with bodies of 875 kB, a commit a millisecond: with the least of both a third fewer points a second, at a seventh
//! more CPU time. With bodies of 25 kB there is no difference.

use rusqlite::Connection;

/// The least: in it lie the inner pages of any spool.
const CACHE_BYTES_MIN: u64 = 2 << 20;
const CACHE_BYTES_MAX: u64 = 16 << 20;

/// On a small disk, or for a small spool, less may gather; but not less than this.
const LOG_BYTES_FLOOR: u64 = 1 << 20;

/// The least and the most that gathers in the log. More takes longer to open after a crash, too: a third of a second for the most
/// (`benches/spool.rs`).
pub(super) const LOG_BYTES_MIN: u64 = 16 << 20;
pub(super) const LOG_BYTES_MAX: u64 = 64 << 20;

/// Transactions whose bodies are kept in memory, and in the log.
const CACHED: u64 = 6;
const LOGGED: u64 = 24;

/// The sizes in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stride {
    cache_bytes: u64,
    log_bytes: u64,
    log_bytes_max: u64,
}

impl Stride {
    /// Of a connection that is new.
    pub(super) const LEAST: Self = Self::least(LOG_BYTES_MAX);

    const fn least(log_bytes_max: u64) -> Self {
        let log_bytes = if log_bytes_max < LOG_BYTES_MIN { log_bytes_max } else { LOG_BYTES_MIN };
        Self { cache_bytes: CACHE_BYTES_MIN, log_bytes, log_bytes_max }
    }

    /// The sizes of a connection that is new, where no more than this should gather in the log.
    pub(super) fn begin(conn: &Connection, log_bytes_max: u64) -> rusqlite::Result<Self> {
        let least = Self::least(log_bytes_max.clamp(LOG_BYTES_FLOOR, LOG_BYTES_MAX));
        if least.log_bytes != Self::LEAST.log_bytes {
            least.set(conn)?;
        }
        Ok(least)
    }

    /// The size of the log from which it is copied into the database.
    pub(super) const fn log_bytes(self) -> u64 {
        self.log_bytes
    }

    /// The same while transactions are small.
    pub(super) const fn log_bytes_least(self) -> u64 {
        Self::least(self.log_bytes_max).log_bytes
    }

    /// The sizes after a transaction that wrote so many bytes of bodies. They do not shrink but by [`Self::rest`].
    fn after(self, written: u64) -> Self {
        Self {
            cache_bytes: (CACHED * written).clamp(self.cache_bytes, CACHE_BYTES_MAX),
            log_bytes: (LOGGED * written).clamp(self.log_bytes, self.log_bytes_max),
            ..self
        }
    }

    /// Goes by a transaction that wrote so many bytes of bodies.
    pub(super) fn follow(&mut self, conn: &Connection, written: u64) -> rusqlite::Result<()> {
        let next = self.after(written);
        if next != *self {
            next.set(conn)?;
            *self = next;
        }
        Ok(())
    }

    /// Goes back to the least, and gives back what is in memory: nothing has been written for long. Whether it was more.
    pub(super) fn rest(&mut self, conn: &Connection) -> rusqlite::Result<bool> {
        let least = Self::least(self.log_bytes_max);
        if *self == least {
            return Ok(false);
        }
        least.set(conn)?;
        *self = least;
        Ok(true)
    }

    pub(super) fn set(self, conn: &Connection) -> rusqlite::Result<()> {
        conn.pragma_update(None, "cache_size", -((self.cache_bytes >> 10) as i64))?;
        // Beyond where it is copied the log has grown by the transaction that took it there, and by the next round will again: what
        // is cut off in between has to be found anew, block by block.
        conn.pragma_update(None, "journal_size_limit", (self.log_bytes + self.log_bytes / 4) as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_largest_transaction_between_bounds() {
        let least = Stride::LEAST;
        assert_eq!(least.after(0), least);
        assert_eq!(least.after(100 << 10), least);
        let large = least.after(1 << 20);
        assert_eq!(large, Stride { cache_bytes: 6 << 20, log_bytes: 24 << 20, ..least });
        assert_eq!(large.after(1 << 10), large);
        let largest = Stride { cache_bytes: CACHE_BYTES_MAX, log_bytes: LOG_BYTES_MAX, ..least };
        assert_eq!(large.after(1 << 30), largest);
    }

    #[test]
    fn less_gathers_in_the_log_of_a_small_spool_and_some_always_may() {
        let conn = Connection::open_in_memory().unwrap();
        for (bound, least, most) in [
            (u64::MAX, LOG_BYTES_MIN, LOG_BYTES_MAX),
            (20 << 20, LOG_BYTES_MIN, 20 << 20),
            (5 << 20, 5 << 20, 5 << 20),
            (0, LOG_BYTES_FLOOR, LOG_BYTES_FLOOR),
        ] {
            let mut stride = Stride::begin(&conn, bound).unwrap();
            assert_eq!(stride.log_bytes(), least, "{bound}");
            stride.follow(&conn, 1 << 30).unwrap();
            assert_eq!(stride.log_bytes(), most, "{bound}");
            stride.rest(&conn).unwrap();
            assert_eq!(stride.log_bytes(), least, "{bound}");
        }
    }
}
