-- RewardUpdated has version 2, which says when the judgment was given that it has learnt last. Rows are what the newest version makes of an
-- event, so those of older ones move with it.
ALTER TABLE reward_updated ADD COLUMN judged_at TIMESTAMPTZ;
UPDATE reward_updated SET schema_version = 2;
