-- ResponseRated v2: a score on a scale or a comment in place of a thumb, on a reply whose conversation may be unknown.
ALTER TABLE response_rated ALTER COLUMN conversation_id DROP NOT NULL;
ALTER TABLE response_rated ALTER COLUMN thumb DROP NOT NULL;
ALTER TABLE response_rated ADD COLUMN score DOUBLE;
ALTER TABLE response_rated ADD COLUMN lowest DOUBLE;
ALTER TABLE response_rated ADD COLUMN highest DOUBLE;
ALTER TABLE response_rated ADD COLUMN "comment" VARCHAR;
UPDATE response_rated SET schema_version = 2;
-- Rewrites of responses that the log holds; the hub makes pairs of them.
CREATE TABLE response_edited (
    log_topic VARCHAR NOT NULL, log_partition INTEGER NOT NULL, log_offset BIGINT NOT NULL,
    schema_version INTEGER NOT NULL, event_id UUID NOT NULL, occurred_at TIMESTAMPTZ NOT NULL, source VARCHAR NOT NULL,
    pair_id UUID NOT NULL, conversation_id VARCHAR, reply_id UUID, original_pair UUID, side VARCHAR, recruiter VARCHAR NOT NULL,
    edited VARCHAR NOT NULL
);
