-- The recorded groups of the candidates of a snapshot's conversations, one row for each attribute, totally ordered. Cut like the prompts:
-- replies up to $cut and groups up to $groups_cut (lists of offsets parallel to $partitions and $groups_partitions).
WITH conversation AS (
    SELECT conversation_id, candidate
    FROM reply_sent
    WHERE candidate IS NOT NULL AND log_offset <= $cut[list_position($partitions, log_partition)]
    QUALIFY row_number() OVER (PARTITION BY conversation_id ORDER BY log_topic, log_partition, log_offset DESC) = 1
),
recorded AS (
    SELECT candidate, "groups"
    FROM groups_recorded
    WHERE log_offset <= $groups_cut[list_position($groups_partitions, log_partition)]
    QUALIFY row_number() OVER (PARTITION BY candidate ORDER BY log_topic, log_partition, log_offset DESC) = 1
)
SELECT conversation_id, answered.key AS attribute, answered.value AS "group"
FROM conversation
JOIN recorded USING (candidate), LATERAL (
    SELECT unnest(map_entries(recorded."groups"::JSON::MAP(VARCHAR, VARCHAR)), recursive := true)
) AS answered (key, value)
WHERE conversation_id IN (SELECT unnest($conversations::VARCHAR[]))
ORDER BY conversation_id, attribute
