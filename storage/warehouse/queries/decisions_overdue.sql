-- The records of decisions that were made, and recorded, before $before, at most $limit, the oldest first. Of several records of one
-- decision the latest on the log holds: it goes last, and none goes while another is younger.
WITH decided AS (
    SELECT *, max(greatest(occurred_at, decided_at)) OVER (PARTITION BY candidate, outcome_id) AS latest
    FROM outcome_recorded
)
SELECT event_id::VARCHAR AS name
FROM decided
WHERE latest < $before
ORDER BY latest, candidate, outcome_id, log_partition, log_offset
LIMIT $limit
