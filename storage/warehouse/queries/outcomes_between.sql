-- Decisions made from $since to before $until, from $sources, each with its candidate's groups as JSON (NULL where none are recorded).
-- Of several records of one decision, and of one candidate's groups, the latest on the log holds.
WITH decided AS (
    SELECT outcome_id, candidate, position, stage, selected, score, decided_at, source
    FROM outcome_recorded
    QUALIFY row_number() OVER (PARTITION BY candidate, outcome_id ORDER BY log_topic, log_partition, log_offset DESC) = 1
),
recorded AS (
    SELECT candidate, "groups"
    FROM groups_recorded
    QUALIFY row_number() OVER (PARTITION BY candidate ORDER BY log_topic, log_partition, log_offset DESC) = 1
)
SELECT outcome_id, candidate, position, stage, selected, score, decided_at, recorded."groups"
FROM decided
LEFT JOIN recorded USING (candidate)
WHERE list_contains($sources, source) AND decided_at >= $since AND decided_at < $until
ORDER BY stage, decided_at, candidate, outcome_id
