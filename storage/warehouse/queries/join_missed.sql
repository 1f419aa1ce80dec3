-- Current judgments of complete pairs that the numbered preferences do not reflect: decisive ones without a number, and those that replace
-- or withdraw a numbered one. A recruiter's current judgment on a pair is the one appended last. Each row has the pair's stratum and
-- features, and the recruiter's numbered judgment (held_*).
WITH holding AS (
    SELECT *, rowid AS place
    FROM judgment_given
    WHERE rowid IN (SELECT max(rowid) FROM judgment_given GROUP BY pair_id, recruiter)
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
    holding.* EXCLUDE (place),
    pairs.stratum, features.embedding_hash, features.a, features.b,
    numbered.judgment_event_id AS held_id, numbered.sequence AS held_sequence
FROM holding
JOIN pairs USING (pair_id)
JOIN features USING (pair_id)
LEFT JOIN numbered ON numbered.judgment_pair_id = holding.pair_id AND numbered.judgment_recruiter = holding.recruiter
WHERE
    CASE
        WHEN numbered.sequence IS NOT NULL
            THEN numbered.judgment_event_id <> holding.event_id
        ELSE
            (holding.choice IN ('A', 'B', 'tie')
             OR holding.choice IS NULL AND regexp_matches(holding.objectives, ':"(A|B|tie)"'))
            AND holding.event_id NOT IN (SELECT judgment_event_id FROM preference_joined)
    END
ORDER BY holding.place
