-- One row per run: the request, the first freeze, the last attempt's first claim, the last progress, the last failure and the verdict.
WITH requested AS (
    SELECT * FROM training_requested QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY log_offset) = 1
),
frozen AS (
    SELECT * FROM dataset_frozen QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY log_offset) = 1
),
claimed AS (
    SELECT * FROM run_claimed QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY attempt DESC, log_offset) = 1
),
progressed AS (
    SELECT * FROM training_progress QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY log_offset DESC) = 1
),
failed AS (
    SELECT * FROM training_failed QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY log_offset DESC) = 1
),
evaluated AS (
    SELECT * FROM model_evaluated QUALIFY row_number() OVER (PARTITION BY run_id ORDER BY log_offset) = 1
)
SELECT
    requested.run_id, requested.occurred_at AS requested_at, requested.source, requested.method, requested.threshold, requested.k,
    requested.through_sequence, requested.sources,
    frozen.occurred_at AS frozen_at, frozen.snapshot, frozen.champion,
    claimed.attempt, claimed.trainer, claimed.occurred_at AS claimed_at,
    progressed.stage, progressed.step, progressed.steps, progressed.metrics, progressed.artifacts, progressed.occurred_at AS progressed_at,
    failed.occurred_at AS failed_at, failed.stage AS failed_stage, failed.reason, failed.final,
    evaluated.version, evaluated.verdict, evaluated.report, evaluated.occurred_at AS evaluated_at
FROM requested
LEFT JOIN frozen USING (run_id)
LEFT JOIN claimed USING (run_id)
LEFT JOIN progressed USING (run_id)
LEFT JOIN failed USING (run_id)
LEFT JOIN evaluated USING (run_id)
ORDER BY requested.occurred_at DESC, requested.run_id
