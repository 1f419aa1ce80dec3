-- Rewrites whose pair is not drawn, with the original where it is stored: of a reply, of the conversation's last reply at that time, or of
-- a side of a pair.
WITH open AS (
    SELECT * EXCLUDE (log_topic, log_partition, log_offset) FROM response_edited WHERE pair_id NOT IN (SELECT pair_id FROM pair_drawn)
),
originals AS (
    SELECT open.event_id, replies.conversation_id, replies.prompt, replies.reply AS "text", replies.version, replies.stratum
    FROM open
    JOIN reply_sent AS replies
        ON replies.event_id = open.reply_id AND replies.conversation_id = coalesce(open.conversation_id, replies.conversation_id)
    UNION ALL
    (
        SELECT open.event_id, replies.conversation_id, replies.prompt, replies.reply, replies.version, replies.stratum
        FROM open
        JOIN reply_sent AS replies ON replies.conversation_id = open.conversation_id
        WHERE open.reply_id IS NULL AND replies.occurred_at <= open.occurred_at
        QUALIFY row_number() OVER (PARTITION BY open.event_id ORDER BY replies.log_partition, replies.log_offset DESC) = 1
    )
    UNION ALL
    (
        SELECT
            open.event_id, pairs.conversation_id, pairs.prompt,
            CASE open.side WHEN 'A' THEN pairs.a_text ELSE pairs.b_text END,
            CASE open.side WHEN 'A' THEN pairs.a_version ELSE pairs.b_version END,
            pairs.stratum
        FROM open
        JOIN pair_drawn AS pairs ON pairs.pair_id = open.original_pair
        QUALIFY row_number() OVER (PARTITION BY open.event_id ORDER BY pairs.log_topic, pairs.log_partition, pairs.log_offset) = 1
    )
)
SELECT
    open.*,
    originals.conversation_id AS original_conversation, originals.prompt AS original_prompt, originals."text" AS original_text,
    originals.version AS original_version, originals.stratum AS original_stratum
FROM open
LEFT JOIN originals USING (event_id)
ORDER BY open.event_id
