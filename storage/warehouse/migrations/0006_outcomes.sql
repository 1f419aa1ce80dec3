-- Groups of candidates and decisions about them. Only audits read these tables (queries/outcomes_between.sql, groups_frozen.sql).
CREATE TABLE groups_recorded (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    candidate VARCHAR NOT NULL, "groups" VARCHAR NOT NULL
);
CREATE TABLE outcome_recorded (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    outcome_id VARCHAR NOT NULL, candidate VARCHAR NOT NULL, position VARCHAR NOT NULL, stage VARCHAR NOT NULL,
    selected BOOLEAN NOT NULL, score DOUBLE, decided_at TIMESTAMPTZ NOT NULL
);
