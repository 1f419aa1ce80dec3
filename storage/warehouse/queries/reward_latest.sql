-- The latest update of each head.
SELECT
    head_id, sequence, judgments_seen, prequential_accuracy, prequential_log_loss, prequential_n, mean, checkpoint, source, occurred_at
FROM reward_updated
QUALIFY row_number() OVER (PARTITION BY head_id ORDER BY sequence DESC, log_offset) = 1
ORDER BY occurred_at DESC, head_id
