-- The newest $limit judgments by people, the oldest of them first, with the authors of the pair if it has arrived.
WITH newest AS (
    SELECT event_id, pair_id, recruiter, occurred_at, choice, shown_first
    FROM judgment_given
    WHERE source = 'product'
    ORDER BY occurred_at DESC, event_id DESC
    LIMIT $limit
),
authors AS (
    SELECT pair_id, any_value(a_version) AS a_version, any_value(b_version) AS b_version, bool_or(drawn = 'edited') AS rewrite
    FROM pair_drawn
    WHERE pair_id IN (SELECT pair_id FROM newest)
    GROUP BY pair_id
)
SELECT newest.*, a_version, b_version, rewrite
FROM newest
LEFT JOIN authors USING (pair_id)
ORDER BY occurred_at, event_id
