-- TrainingProgress v2 adds the artifacts that the run has stored.
ALTER TABLE training_progress ADD COLUMN artifacts VARCHAR DEFAULT '{}';
UPDATE training_progress SET schema_version = 2;
