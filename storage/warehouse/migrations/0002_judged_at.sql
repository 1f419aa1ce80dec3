-- RewardUpdated v2 adds the time of the last judgment learnt. Rows hold events upcast to the newest version, so existing rows are updated.
ALTER TABLE reward_updated ADD COLUMN judged_at TIMESTAMPTZ;
UPDATE reward_updated SET schema_version = 2;
