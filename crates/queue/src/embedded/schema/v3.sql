-- Schema version 3: appends write one table; urgent records, holds, encryption, audit, corrected records.
-- Never edit once released.

ALTER TABLE records ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0;
ALTER TABLE records ADD COLUMN edit_of INTEGER;         -- the record that a person corrected to make this one
CREATE INDEX records_urgent ON records (id) WHERE urgent = 1;
CREATE INDEX records_edit ON records (edit_of) WHERE edit_of IS NOT NULL;

-- ciphers.id; NULL: nothing of the record is encrypted.
ALTER TABLE records ADD COLUMN cipher INTEGER;
-- Ordering keys, encrypted; `keys` then has their lanes.
ALTER TABLE records ADD COLUMN sealed_keys BLOB;
-- With the rest of the record, since a page less for each append is a third of what a lone append writes. What is
-- larger than a page goes to pages of its own anyway. `payloads` keeps what came before.
ALTER TABLE records ADD COLUMN ack BLOB;
ALTER TABLE records ADD COLUMN payload BLOB;

-- Keys that something may be encrypted with: `key` is a name derived from the key, not the key.
CREATE TABLE ciphers (
    id INTEGER PRIMARY KEY,
    key TEXT NOT NULL UNIQUE
);

-- pass: goes also while its destination is paused or a hold is on it. urgent: an urgent record waits for it, or is it.
ALTER TABLE deliveries ADD COLUMN pass INTEGER NOT NULL DEFAULT 0;
ALTER TABLE deliveries ADD COLUMN urgent INTEGER NOT NULL DEFAULT 0;
CREATE INDEX deliveries_pass ON deliveries (destination, state, not_before, record) WHERE pass = 1 AND state < 5;
CREATE INDEX deliveries_urgent ON deliveries (destination, state, not_before, record) WHERE urgent = 1 AND state < 5;

CREATE TABLE holds (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    destination TEXT,                                   -- NULL: any
    lanes TEXT NOT NULL,                                -- JSON array of lanes; empty: any
    listener TEXT,
    message_type TEXT,
    reason TEXT NOT NULL,
    held_at INTEGER NOT NULL                            -- ms since 1970, the queue's own clock
);

-- What people did.
CREATE TABLE audit (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    at INTEGER NOT NULL,
    who TEXT NOT NULL,
    action TEXT NOT NULL,
    detail TEXT NOT NULL
);
