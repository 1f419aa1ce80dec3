-- For every recruiter who judged a pair of $ids: the judgment that holds, and its number where it has one that was not removed.
WITH held AS (
    SELECT pair_id, recruiter, event_id, occurred_at
    FROM judgment_given
    WHERE pair_id IN (SELECT unnest($ids)::UUID)
    QUALIFY row_number() OVER (PARTITION BY pair_id, recruiter ORDER BY occurred_at DESC, event_id DESC) = 1
),
numbered AS (
    SELECT judgment_event_id, sequence
    FROM preference_joined
    WHERE judgment_pair_id IN (SELECT unnest($ids)::UUID) AND sequence NOT IN (SELECT removes FROM preference_removed)
)
SELECT pair_id, recruiter, event_id, occurred_at, sequence
FROM held LEFT JOIN numbered ON judgment_event_id = event_id
