-- Schema version 1 of the shared home, for every database. Released: never edit, add v2.sql instead.
-- Times are milliseconds since 1970 by the clock of the home. {blob} is the database's type of bytes.

CREATE TABLE records (
    id BIGINT PRIMARY KEY,
    stored_at BIGINT NOT NULL,
    received_at BIGINT NOT NULL,                -- as given
    published BIGINT NOT NULL,                  -- 1: confirmed by the broker for all destinations, and in the books
    open BIGINT NOT NULL,                       -- destinations without a final outcome
    size BIGINT NOT NULL,                       -- bytes of payload
    listener TEXT NOT NULL,
    route TEXT NOT NULL,
    keys TEXT NOT NULL,                         -- JSON array of ordering keys
    attributes TEXT NOT NULL,                   -- JSON object of strings
    message_type TEXT,                          -- the attribute of that name
    destinations TEXT NOT NULL,                 -- JSON array of names
    dedup_key TEXT,                             -- NULL once it is outside the window
    content TEXT NOT NULL,                      -- content hash, hex
    ack TEXT,                                   -- the acknowledgement, hex
    conflict_of BIGINT,
    replay_of BIGINT,
    edit_of BIGINT,
    urgent BIGINT NOT NULL
);
CREATE UNIQUE INDEX records_dedup ON records (dedup_key, content) WHERE dedup_key IS NOT NULL;
CREATE INDEX records_open ON records (id) WHERE open > 0;
CREATE INDEX records_replay ON records (replay_of) WHERE replay_of IS NOT NULL;
CREATE INDEX records_edit ON records (edit_of) WHERE edit_of IS NOT NULL;

-- Written when a delivery is settled: until then the broker has the bytes.
CREATE TABLE payloads (
    record BIGINT PRIMARY KEY,
    checksum BIGINT NOT NULL,                   -- CRC-32C of the bytes
    payload {blob} NOT NULL
);

-- What has happened to a record at a destination. No row: with the broker. A state below 5: held here.
CREATE TABLE deliveries (
    record BIGINT NOT NULL,
    destination TEXT NOT NULL,
    state BIGINT NOT NULL,                      -- 1 queued 2 waiting 3 retrying 4 parked 5 delivered 6 dead 7 filtered
    attempts BIGINT NOT NULL,
    not_before BIGINT NOT NULL,                 -- 0 unless retrying
    changed_at BIGINT NOT NULL,
    reason TEXT,
    detail TEXT,
    part BIGINT NOT NULL,                       -- number of the broker's queue it came from
    seq BIGINT NOT NULL,                        -- order in which the messages of that queue came here
    PRIMARY KEY (record, destination)
);
CREATE INDEX deliveries_held ON deliveries (destination, part, seq) WHERE state < 5;
CREATE INDEX deliveries_dead ON deliveries (record) WHERE state = 6;

-- One row per ordering key of everything that is held: the lowest place of a lane goes first.
CREATE TABLE lanes (
    destination TEXT NOT NULL,
    lane BIGINT NOT NULL,                       -- hash of the ordering key
    seq BIGINT NOT NULL,
    record BIGINT NOT NULL,
    part BIGINT NOT NULL,
    barrier BIGINT NOT NULL,                    -- 1: stands for a record that another queue carries
    PRIMARY KEY (destination, lane, seq)
);
CREATE INDEX lanes_record ON lanes (record, destination);
CREATE INDEX lanes_part ON lanes (destination, part);

-- A record with several keys may go once it is first on the lanes of all of them: here is where it is first.
CREATE TABLE barriers (
    record BIGINT NOT NULL,
    destination TEXT NOT NULL,
    lane BIGINT NOT NULL,
    PRIMARY KEY (record, destination, lane)
);

-- The sums per destination ("" is nobody), in shards so that nodes do not wait for each other.
CREATE TABLE books (
    destination TEXT NOT NULL,
    shard BIGINT NOT NULL,
    accepted BIGINT NOT NULL,
    delivered BIGINT NOT NULL,
    dead BIGINT NOT NULL,
    filtered BIGINT NOT NULL,
    removed_delivered BIGINT NOT NULL,
    removed_dead BIGINT NOT NULL,
    removed_filtered BIGINT NOT NULL,
    open_bytes BIGINT NOT NULL,
    PRIMARY KEY (destination, shard)
);

CREATE TABLE paused (
    destination TEXT PRIMARY KEY,
    reason TEXT NOT NULL
);

-- Gateways that deliver, where to, and which broker queue each of them tends.
CREATE TABLE nodes (
    node TEXT NOT NULL,
    destination TEXT NOT NULL,
    beat BIGINT NOT NULL,
    PRIMARY KEY (node, destination)
);
CREATE TABLE owners (
    destination TEXT NOT NULL,
    part BIGINT NOT NULL,
    node TEXT NOT NULL,
    PRIMARY KEY (destination, part)
);

-- Answers to replays, by the token that came with them.
CREATE TABLE tokens (
    token TEXT PRIMARY KEY,
    used_at BIGINT NOT NULL,
    answer TEXT NOT NULL
);

-- Numbers up to here were given, whatever has been removed since.
CREATE TABLE last_number (
    number BIGINT NOT NULL
);
INSERT INTO last_number VALUES (0);
