-- Schema version 2: appends no longer write the books. Released: never edit, add v3.sql instead.

-- The newest record that the counters of a destination include; what came later is counted from `records`.
ALTER TABLE destinations ADD COLUMN counted INTEGER NOT NULL DEFAULT 0;
UPDATE destinations SET counted = (SELECT coalesce(max(id), 0) FROM records);
