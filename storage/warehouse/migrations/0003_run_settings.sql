-- TrainingRequested v2 adds the hash of the run's settings; in PairDrawn v2 the field drawn may be any identifier.
ALTER TABLE training_requested ADD COLUMN settings VARCHAR;
UPDATE training_requested SET schema_version = 2;
UPDATE pair_drawn SET schema_version = 2;
