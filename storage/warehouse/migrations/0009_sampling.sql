-- ReplySent v3: penalties, and no value where an upstream server chose it.
ALTER TABLE reply_sent ALTER COLUMN sampling_temperature DROP NOT NULL;
ALTER TABLE reply_sent ALTER COLUMN sampling_top_p DROP NOT NULL;
ALTER TABLE reply_sent ALTER COLUMN sampling_max_tokens DROP NOT NULL;
ALTER TABLE reply_sent ADD COLUMN sampling_frequency_penalty DOUBLE DEFAULT 0;
ALTER TABLE reply_sent ADD COLUMN sampling_presence_penalty DOUBLE DEFAULT 0;
UPDATE reply_sent SET schema_version = 3;
