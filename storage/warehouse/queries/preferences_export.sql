-- The preferences current at $through_sequence, from $sources; the same as in a snapshot, but without features.
WITH said AS (
    -- A judgment without an overall choice gives one row for each objective.
    SELECT preference_joined.*, 'overall' AS objective, judgment_choice AS said
    FROM preference_joined
    WHERE judgment_choice IS NOT NULL
    UNION ALL
    SELECT preference_joined.*, answered.key, answered.value
    FROM preference_joined, LATERAL (
        SELECT unnest(map_entries(judgment_objectives::JSON::MAP(VARCHAR, VARCHAR)), recursive := true)
    ) AS answered (key, value)
    WHERE judgment_choice IS NULL
)
SELECT
    said.sequence, objective, judgment_event_id AS event_id, judgment_pair_id AS pair_id, pairs.conversation_id, pairs.prompt,
    pairs.a_text AS a, pairs.b_text AS b, said.said AS choice, judgment_objectives AS objectives, judgment_strength AS strength,
    judgment_reason AS reason, judgment_recruiter AS recruiter, judgment_shown_first AS shown_first, judgment_seconds AS seconds,
    judgment_counts AS counts, said.stratum, judgment_source AS source, pairs.drawn, pairs.probability, pairs.a_version, pairs.b_version,
    embedding_hash, judgment_occurred_at AS occurred_at
FROM said
JOIN (
    SELECT * FROM pair_drawn QUALIFY row_number() OVER (PARTITION BY pair_id ORDER BY log_topic, log_partition, log_offset) = 1
) AS pairs ON pairs.pair_id = judgment_pair_id
WHERE
    said.sequence <= $through_sequence
    AND list_contains($sources, judgment_source)
    AND said.said IN ('A', 'B', 'tie')
    AND said.sequence NOT IN (SELECT removes FROM preference_removed WHERE preference_removed.sequence <= $through_sequence)
ORDER BY said.sequence, objective
