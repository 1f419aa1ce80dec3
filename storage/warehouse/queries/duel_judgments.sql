-- The numbered judgments on pairs of $challenger and $champion drawn for their duel, from $sources, in order; ``removed`` no longer hold.
SELECT
    joined.sequence, joined.judgment_recruiter AS recruiter, pairs.conversation_id, pairs.drawn = 'canary' AS live,
    CASE
        WHEN judgment_choice = 'tie' THEN 0.5
        WHEN (judgment_choice = 'A') = (pairs.a_version = $challenger) THEN 1.0
        ELSE 0.0
    END AS outcome,
    joined.sequence IN (SELECT removes FROM preference_removed) AS removed
FROM preference_joined AS joined
JOIN (
    SELECT * FROM pair_drawn
    WHERE drawn IN ('duel', 'canary') AND list_sort([a_version, b_version]) = list_sort([$challenger, $champion])
    QUALIFY row_number() OVER (PARTITION BY pair_id ORDER BY log_topic, log_partition, log_offset) = 1
) AS pairs ON pairs.pair_id = judgment_pair_id
WHERE
    judgment_choice IN ('A', 'B', 'tie')
    AND list_contains($sources, judgment_source)
ORDER BY joined.sequence
