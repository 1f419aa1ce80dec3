-- Why something is erased: because somebody asked for it, or because its time was over.
ALTER TABLE person_erased ADD COLUMN cause VARCHAR DEFAULT 'request';
UPDATE person_erased SET schema_version = 2;
