-- Judgments that hold and are complete and that the numbered preferences do not reflect: decisive ones without a number, and those that
-- stand against an earlier one's number. Each with its pair's stratum and features and with what the numbers say now (held_*).
WITH holding AS (
    SELECT *
    FROM judgment_given
    QUALIFY row_number() OVER (PARTITION BY pair_id, recruiter ORDER BY occurred_at DESC, event_id DESC) = 1
),
pairs AS (SELECT pair_id, arg_min(stratum, log_offset) AS stratum FROM pair_drawn GROUP BY pair_id),
features AS (
    SELECT pair_id, arg_max(embedding_hash, log_offset) AS embedding_hash, arg_max(a, log_offset) AS a, arg_max(b, log_offset) AS b
    FROM pair_embedded
    GROUP BY pair_id
),
numbered AS (
    SELECT *
    FROM preference_joined
    WHERE sequence NOT IN (SELECT removes FROM preference_removed)
)
SELECT
    holding.*,
    pairs.stratum, features.embedding_hash, features.a, features.b,
    numbered.judgment_occurred_at AS held_at, numbered.judgment_event_id AS held_id, numbered.sequence AS held_sequence
FROM holding
JOIN pairs USING (pair_id)
JOIN features USING (pair_id)
LEFT JOIN numbered ON numbered.judgment_pair_id = holding.pair_id AND numbered.judgment_recruiter = holding.recruiter
WHERE
    CASE
        WHEN numbered.sequence IS NOT NULL
            THEN (numbered.judgment_occurred_at, numbered.judgment_event_id) < (holding.occurred_at, holding.event_id)
        ELSE
            (holding.choice IN ('A', 'B', 'tie')
             OR holding.choice IS NULL AND regexp_matches(holding.objectives, ':"(A|B|tie)"'))
            AND holding.event_id NOT IN (SELECT judgment_event_id FROM preference_joined)
    END
ORDER BY holding.occurred_at, holding.event_id
