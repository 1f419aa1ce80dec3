-- The numbered judgments on pairs of $challenger and $champion drawn for their duel, from $sources, in order; ``removed`` no longer hold.
-- With the groups recorded of each conversation's candidate, as JSON; only the duel's test for harm reads them.
WITH pairs AS (
    SELECT pair_id, conversation_id, drawn, a_version
    FROM pair_drawn
    WHERE drawn IN ('duel', 'canary') AND list_sort([a_version, b_version]) = list_sort([$challenger, $champion])
    QUALIFY row_number() OVER (PARTITION BY pair_id ORDER BY log_topic, log_partition, log_offset) = 1
),
conversation AS (
    SELECT conversation_id, candidate
    FROM reply_sent
    WHERE candidate IS NOT NULL AND conversation_id IN (SELECT conversation_id FROM pairs)
    QUALIFY row_number() OVER (PARTITION BY conversation_id ORDER BY log_topic, log_partition, log_offset DESC) = 1
),
recorded AS (
    SELECT candidate, "groups"
    FROM groups_recorded
    WHERE candidate IN (SELECT candidate FROM conversation)
    QUALIFY row_number() OVER (PARTITION BY candidate ORDER BY log_topic, log_partition, log_offset DESC) = 1
)
SELECT
    joined.sequence, joined.judgment_recruiter AS recruiter, pairs.drawn = 'canary' AS live, coalesce(recorded."groups", '{}') AS "groups",
    CASE
        WHEN judgment_choice = 'tie' THEN 0.5
        WHEN (judgment_choice = 'A') = (pairs.a_version = $challenger) THEN 1.0
        ELSE 0.0
    END AS outcome,
    joined.sequence IN (SELECT removes FROM preference_removed) AS removed
FROM preference_joined AS joined
JOIN pairs ON pairs.pair_id = judgment_pair_id
LEFT JOIN conversation USING (conversation_id)
LEFT JOIN recorded USING (candidate)
WHERE judgment_choice IN ('A', 'B', 'tie') AND list_contains($sources, judgment_source)
ORDER BY joined.sequence
