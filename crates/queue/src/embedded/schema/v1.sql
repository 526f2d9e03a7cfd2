-- Schema version 1. Released: never edit, add v2.sql instead.

-- Names of destinations with their books. Row 0 stands for "no destination": it counts the records that
-- nobody wanted, and its position is at least the number of the newest record that was removed.
CREATE TABLE destinations (
    id INTEGER PRIMARY KEY,
    name TEXT NOT NULL UNIQUE,
    paused TEXT,                                -- why nothing is leased; NULL: leasing
    position INTEGER NOT NULL DEFAULT 0,        -- every record up to here that is meant for it has a deliveries row
    accepted INTEGER NOT NULL DEFAULT 0,
    queued INTEGER NOT NULL DEFAULT 0,
    waiting INTEGER NOT NULL DEFAULT 0,
    retrying INTEGER NOT NULL DEFAULT 0,
    parked INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0,
    dead INTEGER NOT NULL DEFAULT 0,
    filtered INTEGER NOT NULL DEFAULT 0,
    removed_delivered INTEGER NOT NULL DEFAULT 0,
    removed_dead INTEGER NOT NULL DEFAULT 0,
    removed_filtered INTEGER NOT NULL DEFAULT 0,
    open_bytes INTEGER NOT NULL DEFAULT 0
);
INSERT INTO destinations (id, name) VALUES (0, '');

-- An audience is a set of destinations; a record names its audience.
CREATE TABLE audience_members (
    audience INTEGER NOT NULL,
    destination INTEGER NOT NULL REFERENCES destinations (id),
    PRIMARY KEY (audience, destination)
) WITHOUT ROWID;
INSERT INTO audience_members VALUES (0, 0);

CREATE TABLE records (
    id INTEGER PRIMARY KEY,
    stored_at INTEGER NOT NULL,                 -- ms since 1970, the queue's own clock: never decreases
    received_at INTEGER NOT NULL,               -- ms since 1970, as given
    audience INTEGER NOT NULL,
    size INTEGER NOT NULL,                      -- bytes of payload
    checksum INTEGER NOT NULL,                  -- CRC-32C, see checksum.rs
    listener TEXT NOT NULL,
    route TEXT NOT NULL,
    keys TEXT NOT NULL,                         -- JSON array of ordering keys
    attributes TEXT NOT NULL,                   -- JSON object of strings
    content_tag INTEGER,                        -- content_hash folded to 8 bytes
    content_hash BLOB,
    dedup_key TEXT,
    conflict_of INTEGER,
    replay_of INTEGER
);
CREATE INDEX records_dedup ON records (dedup_key, content_tag) WHERE dedup_key IS NOT NULL;
CREATE INDEX records_replay ON records (replay_of) WHERE replay_of IS NOT NULL;

-- Apart from records, so that lists and scans read small rows.
CREATE TABLE payloads (
    id INTEGER PRIMARY KEY,
    payload BLOB NOT NULL,
    ack BLOB
);

-- What has happened to a record at a destination. No row: nothing yet (queued).
CREATE TABLE deliveries (
    destination INTEGER NOT NULL,
    record INTEGER NOT NULL,
    state INTEGER NOT NULL,                     -- 1 queued 2 waiting 3 retrying 4 parked 5 delivered 6 dead 7 filtered
    attempts INTEGER NOT NULL DEFAULT 0,
    not_before INTEGER NOT NULL DEFAULT 0,      -- ms since 1970, the queue's own clock; 0 unless retrying
    changed_at INTEGER NOT NULL,
    reason TEXT,
    detail TEXT,
    PRIMARY KEY (destination, record)
) WITHOUT ROWID;
CREATE INDEX deliveries_open ON deliveries (destination, state, not_before, record) WHERE state < 5;
CREATE INDEX deliveries_dead ON deliveries (destination, record) WHERE state = 6;

-- One row per ordering key of every delivery in state 1 to 4: the lowest record of a lane goes first.
CREATE TABLE lanes (
    destination INTEGER NOT NULL,
    lane INTEGER NOT NULL,                      -- hash of the ordering key, see lane.rs
    record INTEGER NOT NULL,
    PRIMARY KEY (destination, lane, record)
) WITHOUT ROWID;

-- Answers to replays, by the token that came with them.
CREATE TABLE tokens (
    token TEXT PRIMARY KEY,
    used_at INTEGER NOT NULL,
    answer TEXT NOT NULL
) WITHOUT ROWID;
