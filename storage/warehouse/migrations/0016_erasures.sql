-- Erasures, and the names of everything that they reach: what is a candidate, recruiter, conversation, reply or pair, the key of a text,
-- or plain: an event that stays on the log with a text that is not sealed.
CREATE TABLE person_erased (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    what VARCHAR NOT NULL, name VARCHAR NOT NULL
);
CREATE TABLE erased (what VARCHAR NOT NULL, name VARCHAR NOT NULL);
-- Keys of texts in repeats of a stored event that are sealed under another key: they go with the event.
CREATE TABLE repeated_key (event_id UUID NOT NULL, kid VARCHAR NOT NULL);
