-- PairDrawn v3: how, how soon and how many recruiters are asked about a pair.
ALTER TABLE pair_drawn ADD COLUMN arm VARCHAR DEFAULT 'uniform';
ALTER TABLE pair_drawn ADD COLUMN priority BIGINT DEFAULT 0;
ALTER TABLE pair_drawn ADD COLUMN opinions BIGINT;
UPDATE pair_drawn SET schema_version = 3;
-- ReplySent v2: among how many replies the reward model chose.
ALTER TABLE reply_sent ADD COLUMN sampling_best_of BIGINT DEFAULT 1;
UPDATE reply_sent SET schema_version = 2;
