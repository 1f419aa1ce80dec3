-- API keys, refusals and who decided: the audit trail. Nobody is let in by these rows; access.follower reads the log.
CREATE TABLE key_issued (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    serial BIGINT NOT NULL, signed_by VARCHAR NOT NULL, signature VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL, name VARCHAR NOT NULL, secret_hash VARCHAR NOT NULL, scopes VARCHAR NOT NULL,
    recruiters VARCHAR NOT NULL, expires_at TIMESTAMPTZ
);
CREATE TABLE key_revoked (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    serial BIGINT NOT NULL, signed_by VARCHAR NOT NULL, signature VARCHAR NOT NULL,
    key_id VARCHAR NOT NULL, ends_at TIMESTAMPTZ NOT NULL
);
CREATE TABLE requests_refused (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    caller VARCHAR NOT NULL, request VARCHAR NOT NULL, status BIGINT NOT NULL, times BIGINT NOT NULL
);
CREATE TABLE decision_made (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    caller VARCHAR NOT NULL, decision UUID NOT NULL
);
