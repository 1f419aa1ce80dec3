-- Judgments waiting for their pair or its features, and for how many seconds; longest first.
SELECT
    event_id, pair_id, recruiter, source, choice, occurred_at,
    CASE
        WHEN pair_id IN (SELECT pair_id FROM pair_drawn) THEN 'features'
        WHEN pair_id IN (SELECT pair_id FROM pair_embedded) THEN 'pair'
        ELSE 'pair and features'
    END AS waits_for,
    epoch(now()) - epoch(occurred_at) AS seconds
FROM judgment_given
WHERE pair_id NOT IN (SELECT pair_id FROM pair_drawn) OR pair_id NOT IN (SELECT pair_id FROM pair_embedded)
ORDER BY occurred_at, event_id
LIMIT $limit
