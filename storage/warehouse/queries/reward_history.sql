-- The latest $limit updates, in log order.
SELECT head_id, sequence, judgments_seen, prequential_accuracy, prequential_log_loss, prequential_n, checkpoint, source, occurred_at
FROM (SELECT * FROM reward_updated ORDER BY log_partition DESC, log_offset DESC LIMIT $limit)
ORDER BY log_partition, log_offset
