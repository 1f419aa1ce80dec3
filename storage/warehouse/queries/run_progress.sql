SELECT attempt, stage, step, steps, metrics, occurred_at
FROM training_progress
WHERE run_id = $run_id::UUID
ORDER BY log_partition, log_offset
