-- The spool file, version 1. The reasons for its shape stand in src/spool/mod.rs.

PRAGMA application_id = 0x49535031; -- "ISP1"

-- One row: who this spool is, what is reserved, and sums kept so that nothing has to be counted at start.
CREATE TABLE spool (
    id INTEGER PRIMARY KEY CHECK (id = 1),
    uuid TEXT NOT NULL,
    generation INTEGER NOT NULL,         -- how often the file was opened
    life_first INTEGER NOT NULL,         -- the first number of the present life
    seq_end INTEGER NOT NULL,            -- no number from here on was given to anyone
    stamp_last INTEGER,                  -- the last automatic timestamp, nanoseconds
    clean_stop INTEGER NOT NULL,         -- 1 after a close, 0 while open and after a crash
    unclean_ends INTEGER NOT NULL,
    commit_number INTEGER NOT NULL,
    refused INTEGER NOT NULL,            -- points that were never accepted
    batches INTEGER NOT NULL,            -- the backlog: count(*), sum(points), sum(raw_len) of batch
    points INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    quarantine_batches INTEGER NOT NULL, -- count(*), sum(length(body)) of quarantine
    quarantine_bytes INTEGER NOT NULL,
    fate_floor INTEGER NOT NULL,         -- fates of numbers below are forgotten
    clock_ms INTEGER NOT NULL,           -- the wall clock at the last commit
    expiry_after_ms INTEGER NOT NULL,    -- nothing expires before: the clock was set
    checksum INTEGER NOT NULL            -- CRC-32 over this row and the ledger
) STRICT;

-- What was accepted and what became of it; a new reason is a new key and needs no migration.
CREATE TABLE ledger (
    key TEXT PRIMARY KEY,
    points INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The backlog. AUTOINCREMENT: SQLite gives the highest id again otherwise, and a queue is often empty.
-- A row is complete in itself (the destination stands in it), so that it can be salvaged alone.
CREATE TABLE batch (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    first_seq INTEGER NOT NULL,
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
    checksum INTEGER NOT NULL,           -- CRC-32 over all other columns but id
    body BLOB NOT NULL                   -- last, so that the others are read without it
) STRICT;

CREATE UNIQUE INDEX batch_order ON batch (first_seq);

-- What changes about a batch. Apart, because an update of a row writes its whole body again.
CREATE TABLE attempt (
    batch INTEGER PRIMARY KEY,
    attempts INTEGER NOT NULL,
    panics INTEGER NOT NULL,
    status INTEGER,
    words TEXT
) STRICT;

-- Batches kept for a person to look at; first the columns of batch.
CREATE TABLE quarantine (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    first_seq INTEGER NOT NULL,
    last_seq INTEGER NOT NULL,
    points INTEGER NOT NULL,
    dest TEXT NOT NULL,
    codec TEXT NOT NULL,
    raw_len INTEGER NOT NULL,
    earliest INTEGER NOT NULL,
    latest INTEGER NOT NULL,
    created_ms INTEGER NOT NULL,
    origin TEXT NOT NULL,
    parent INTEGER,
    checksum INTEGER NOT NULL,
    reason TEXT NOT NULL,                -- the key of the fate
    status INTEGER,
    words TEXT,                          -- the server's
    since_ms INTEGER NOT NULL,
    replays INTEGER NOT NULL,
    body BLOB NOT NULL
) STRICT;

-- What became of which numbers; neighbours of one fate are one row.
CREATE TABLE fate (
    first_seq INTEGER PRIMARY KEY,
    last_seq INTEGER NOT NULL,
    fate TEXT NOT NULL
) STRICT;
