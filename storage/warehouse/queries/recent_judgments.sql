-- The latest judgments, with their sequence numbers, if any.
SELECT latest.*, preference_joined.sequence
FROM (
    SELECT event_id, pair_id, recruiter, choice, strength, reason, source, occurred_at
    FROM judgment_given
    ORDER BY occurred_at DESC, event_id DESC
    LIMIT $limit
) AS latest
LEFT JOIN preference_joined ON preference_joined.judgment_event_id = latest.event_id
ORDER BY latest.occurred_at DESC, latest.event_id DESC
