-- Each recruiter's current judgment (the one appended last) on the pairs in $ids, and its sequence number if it has one that was not removed.
WITH held AS (
    SELECT pair_id, recruiter, arg_max(event_id, rowid) AS event_id
    FROM judgment_given
    WHERE pair_id IN (SELECT unnest($ids)::UUID)
    GROUP BY pair_id, recruiter
),
numbered AS (
    SELECT judgment_event_id, sequence
    FROM preference_joined
    WHERE judgment_pair_id IN (SELECT unnest($ids)::UUID) AND sequence NOT IN (SELECT removes FROM preference_removed)
)
SELECT pair_id, recruiter, event_id, sequence
FROM held LEFT JOIN numbered ON judgment_event_id = event_id
