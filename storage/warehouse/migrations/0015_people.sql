-- People, and their sign-ins: more of the audit trail. Names and passwords are not here, and nobody is let in by these rows.
CREATE TABLE person_added (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    serial BIGINT NOT NULL, signed_by VARCHAR NOT NULL, signature VARCHAR NOT NULL,
    person VARCHAR NOT NULL, recruiter VARCHAR NOT NULL, roles VARCHAR NOT NULL, identity VARCHAR
);
CREATE TABLE roles_changed (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    serial BIGINT NOT NULL, signed_by VARCHAR NOT NULL, signature VARCHAR NOT NULL,
    person VARCHAR NOT NULL, roles VARCHAR NOT NULL
);
CREATE TABLE person_removed (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    serial BIGINT NOT NULL, signed_by VARCHAR NOT NULL, signature VARCHAR NOT NULL,
    person VARCHAR NOT NULL
);
CREATE TABLE signed_in (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    person VARCHAR NOT NULL, how VARCHAR NOT NULL
);
CREATE TABLE signed_out (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    person VARCHAR NOT NULL
);
