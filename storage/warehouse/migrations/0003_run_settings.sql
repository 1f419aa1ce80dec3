-- TrainingRequested has version 2, which names the run's settings; PairDrawn has version 2, in which any identifier says how a pair was drawn.
ALTER TABLE training_requested ADD COLUMN settings VARCHAR;
UPDATE training_requested SET schema_version = 2;
UPDATE pair_drawn SET schema_version = 2;
