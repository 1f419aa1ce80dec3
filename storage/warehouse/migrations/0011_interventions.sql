-- What safety filters did, and where personal data was redacted.
CREATE TABLE intervention_made (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    conversation_id VARCHAR, about UUID, stage VARCHAR NOT NULL, "filter" VARCHAR NOT NULL, "action" VARCHAR NOT NULL,
    finding VARCHAR NOT NULL, times BIGINT NOT NULL
);
