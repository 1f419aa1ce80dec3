-- ModelPromoted v2 adds the hash of the promotion's signed record.
ALTER TABLE model_promoted ADD COLUMN record VARCHAR;
UPDATE model_promoted SET schema_version = 2;
