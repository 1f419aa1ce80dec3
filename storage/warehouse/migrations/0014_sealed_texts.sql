-- Texts and vectors may be sealed: the next version of each kind that holds some. ReplySent v4 has a keyed hash of its prompt.
ALTER TABLE reply_sent ADD COLUMN prompt_key VARCHAR;
UPDATE reply_sent SET schema_version = 4;
UPDATE pair_drawn SET schema_version = 4;
UPDATE judgment_given SET schema_version = 2;
UPDATE response_rated SET schema_version = 3;
UPDATE response_edited SET schema_version = 2;
UPDATE pair_embedded SET schema_version = 2;
UPDATE preference_joined SET schema_version = 2, judgment_schema_version = 2;
