-- Judgments whose pair or its features have not come, in the order of the log.
SELECT judgment_given.*
FROM judgment_given
WHERE pair_id NOT IN (SELECT pair_id FROM pair_drawn) OR pair_id NOT IN (SELECT pair_id FROM pair_embedded)
ORDER BY log_topic, log_partition, log_offset
