-- Version 3: a batch lies under its first number. Numbers are given once, so nothing has to remember which ids were, and the
-- table is in the order in which it is read, so it needs no index: a transaction writes two pages fewer.

-- Only where `batch` is empty (`schema::migrate` waits for that): its rows would have to be written anew, bodies and all.
DROP TABLE batch;

-- The backlog. A row is complete in itself (the destination stands in it), so that it can be salvaged alone.
CREATE TABLE batch (
    first_seq INTEGER PRIMARY KEY,       -- last_seq and points say it, too
    last_seq INTEGER NOT NULL,
    points INTEGER NOT NULL,
    dest TEXT NOT NULL,                  -- JSON
    codec TEXT NOT NULL,                 -- identity, gzip
    raw_len INTEGER NOT NULL,            -- bytes of the plain lines
    earliest INTEGER NOT NULL,           -- the points' timestamps, nanoseconds
    latest INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,         -- when the oldest point was pushed
    origin TEXT NOT NULL,                -- live, split, replay
    parent INTEGER,                      -- the row a split or replayed one came from
    checksum INTEGER NOT NULL,           -- CRC-32 over all other columns
    body BLOB NOT NULL                   -- last, so that the others are read without it
) STRICT;

-- `attempt.batch` is the batch's first number now.
DELETE FROM attempt;
