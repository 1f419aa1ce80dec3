-- EventQuarantined v2 has no copy of the bytes. DuckDB does not overwrite what a dropped column held, so the file is written anew.
ALTER TABLE event_quarantined DROP COLUMN IF EXISTS payload;
UPDATE event_quarantined SET schema_version = 2;
