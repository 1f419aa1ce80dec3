-- The duel between approval and promotion, and TrainingRequested v3 with the person who asked.
ALTER TABLE training_requested ADD COLUMN requested_by VARCHAR;
UPDATE training_requested SET schema_version = 3;
CREATE TABLE duel_decided (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    version VARCHAR NOT NULL, review UUID NOT NULL, champion VARCHAR NOT NULL, stage VARCHAR NOT NULL, outcome VARCHAR NOT NULL,
    through_sequence BIGINT NOT NULL, evidence VARCHAR, words VARCHAR NOT NULL
);
CREATE TABLE canary_started (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    version VARCHAR NOT NULL, review UUID NOT NULL, step BIGINT NOT NULL, share DOUBLE NOT NULL, through_sequence BIGINT NOT NULL,
    evidence VARCHAR NOT NULL
);
