-- TrainingProgress has version 2, which names what the run has put into the artifact store.
ALTER TABLE training_progress ADD COLUMN artifacts VARCHAR DEFAULT '{}';
UPDATE training_progress SET schema_version = 2;
