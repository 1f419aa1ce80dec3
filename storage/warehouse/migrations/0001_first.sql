-- One append-only table per kind of event. No keys or indexes: with millions of rows they cost more than everything else
-- (docs/decisions.md). log_topic, log_partition and log_offset are the position of the row's event on the log.
-- Nested values are columns (a_text, sampling_seed); lists and dicts are JSON text, not parsed by any query that must be fast.

CREATE TABLE offsets (log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL);
CREATE TABLE numbering (epoch BIGINT NOT NULL);
INSERT INTO numbering VALUES (0);

CREATE TABLE reply_sent (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    conversation_id VARCHAR NOT NULL, candidate VARCHAR, prompt VARCHAR NOT NULL, reply VARCHAR NOT NULL, version VARCHAR NOT NULL,
    sampling_temperature DOUBLE NOT NULL, sampling_top_p DOUBLE NOT NULL, sampling_max_tokens BIGINT NOT NULL, sampling_seed BIGINT,
    sampling_stop VARCHAR NOT NULL, stratum VARCHAR NOT NULL
);
CREATE TABLE pair_drawn (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    pair_id UUID NOT NULL, conversation_id VARCHAR NOT NULL, prompt VARCHAR NOT NULL,
    a_text VARCHAR NOT NULL, a_version VARCHAR NOT NULL, b_text VARCHAR NOT NULL, b_version VARCHAR NOT NULL,
    drawn VARCHAR NOT NULL, probability DOUBLE NOT NULL, stratum VARCHAR NOT NULL
);
CREATE TABLE judgment_given (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    pair_id UUID NOT NULL, recruiter VARCHAR NOT NULL, choice VARCHAR, objectives VARCHAR NOT NULL, strength BIGINT, reason VARCHAR,
    shown_first VARCHAR, seconds DOUBLE, counts BOOLEAN NOT NULL
);
CREATE TABLE response_rated (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    conversation_id VARCHAR NOT NULL, reply_id UUID, recruiter VARCHAR NOT NULL, thumb VARCHAR NOT NULL, reason VARCHAR
);
CREATE TABLE pair_embedded (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    pair_id UUID NOT NULL, embedding VARCHAR NOT NULL, embedding_hash VARCHAR NOT NULL, a VARCHAR NOT NULL, b VARCHAR NOT NULL
);
CREATE TABLE hub_claimed (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    epoch BIGINT NOT NULL, hub VARCHAR NOT NULL
);
CREATE TABLE event_quarantined (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    topic VARCHAR NOT NULL, "partition" BIGINT NOT NULL, "offset" BIGINT NOT NULL, reader VARCHAR NOT NULL, reason VARCHAR NOT NULL,
    payload VARCHAR NOT NULL, payload_hash VARCHAR NOT NULL
);
CREATE TABLE reward_updated (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    head_id VARCHAR NOT NULL, "sequence" BIGINT NOT NULL, judgments_before BIGINT NOT NULL, judgments_seen BIGINT NOT NULL,
    mean VARCHAR NOT NULL, prequential_accuracy DOUBLE, prequential_log_loss DOUBLE, prequential_n BIGINT NOT NULL, checkpoint VARCHAR NOT NULL
);
CREATE TABLE training_requested (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    run_id UUID NOT NULL, method VARCHAR NOT NULL, threshold VARCHAR NOT NULL, k BIGINT NOT NULL, through_sequence BIGINT NOT NULL,
    sources VARCHAR NOT NULL
);
CREATE TABLE dataset_frozen (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    run_id UUID NOT NULL, snapshot VARCHAR NOT NULL, champion VARCHAR NOT NULL, champion_policy VARCHAR, challengers_before BIGINT NOT NULL
);
CREATE TABLE run_claimed (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    run_id UUID NOT NULL, attempt BIGINT NOT NULL, trainer VARCHAR NOT NULL
);
CREATE TABLE training_progress (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    run_id UUID NOT NULL, attempt BIGINT NOT NULL, stage VARCHAR NOT NULL, step BIGINT NOT NULL, steps BIGINT NOT NULL, metrics VARCHAR NOT NULL
);
CREATE TABLE training_failed (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    run_id UUID NOT NULL, attempt BIGINT NOT NULL, stage VARCHAR NOT NULL, reason VARCHAR NOT NULL, final BOOLEAN NOT NULL
);
CREATE TABLE model_evaluated (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    version VARCHAR NOT NULL, run_id UUID NOT NULL, policy VARCHAR NOT NULL, report VARCHAR NOT NULL, champion VARCHAR NOT NULL,
    gates VARCHAR NOT NULL, verdict VARCHAR NOT NULL
);
CREATE TABLE review_decided (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    version VARCHAR NOT NULL, decision VARCHAR NOT NULL, reviewer VARCHAR NOT NULL, reason VARCHAR NOT NULL
);
CREATE TABLE model_promoted (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    version VARCHAR NOT NULL, review UUID NOT NULL
);
CREATE TABLE model_rolled_back (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    version VARCHAR NOT NULL, reviewer VARCHAR NOT NULL, reason VARCHAR NOT NULL
);

-- Numbered preferences with all their fields, so that they can be published again. They are created here before they are on the log, so they
-- have no position; preference_logged has the position of each entry read back from the log (duplicates have their own rows).
CREATE TABLE preference_joined (
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    epoch BIGINT NOT NULL, "sequence" BIGINT NOT NULL,
    judgment_schema_version INTEGER NOT NULL, judgment_event_id UUID NOT NULL, judgment_occurred_at TIMESTAMPTZ NOT NULL,
    judgment_source VARCHAR NOT NULL, judgment_pair_id UUID NOT NULL, judgment_recruiter VARCHAR NOT NULL, judgment_choice VARCHAR,
    judgment_objectives VARCHAR NOT NULL, judgment_strength BIGINT, judgment_reason VARCHAR, judgment_shown_first VARCHAR,
    judgment_seconds DOUBLE, judgment_counts BOOLEAN NOT NULL,
    stratum VARCHAR NOT NULL, embedding_hash VARCHAR NOT NULL, a VARCHAR NOT NULL, b VARCHAR NOT NULL
);
CREATE TABLE preference_removed (
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    epoch BIGINT NOT NULL, "sequence" BIGINT NOT NULL, removes BIGINT NOT NULL
);
CREATE TABLE preference_logged (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    event_id UUID NOT NULL, epoch BIGINT NOT NULL, "sequence" BIGINT NOT NULL
);
