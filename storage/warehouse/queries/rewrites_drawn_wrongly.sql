-- Pairs of rewrites that do not follow from the rewrite and a response that it names. Of a conversation any reply will do: which was the last
-- depended on what had been stored by then.
WITH drawn AS (
    SELECT
        pairs.event_id AS drawn_id, pairs.pair_id, pairs.conversation_id AS of_conversation, pairs.prompt, pairs.a_text, pairs.a_version,
        pairs.stratum, pairs.b_text = edits.edited AND pairs.b_version = edits.recruiter AS holds_rewrite,
        edits.reply_id, edits.conversation_id, edits.original_pair, edits.side
    FROM pair_drawn AS pairs JOIN response_edited AS edits USING (pair_id)
),
follows AS (
    SELECT drawn_id, replies.prompt, replies.reply AS "text", replies.version, replies.conversation_id, replies.stratum
    FROM drawn JOIN reply_sent AS replies ON replies.event_id = drawn.reply_id
    UNION ALL
    SELECT drawn_id, replies.prompt, replies.reply, replies.version, replies.conversation_id, replies.stratum
    FROM drawn JOIN reply_sent AS replies ON replies.conversation_id = drawn.conversation_id
    WHERE drawn.reply_id IS NULL
    UNION ALL
    SELECT
        drawn_id, originals.prompt, CASE side WHEN 'A' THEN originals.a_text ELSE originals.b_text END,
        CASE side WHEN 'A' THEN originals.a_version ELSE originals.b_version END, originals.conversation_id, originals.stratum
    FROM drawn JOIN pair_drawn AS originals ON originals.pair_id = drawn.original_pair
)
SELECT drawn_id AS event_id, pair_id
FROM drawn
WHERE
    NOT holds_rewrite
    OR NOT EXISTS (
        SELECT 1 FROM follows
        WHERE
            follows.drawn_id = drawn.drawn_id AND follows.prompt = drawn.prompt AND follows."text" = drawn.a_text
            AND follows.version = drawn.a_version AND follows.conversation_id = drawn.of_conversation AND follows.stratum = drawn.stratum
    )
ORDER BY drawn_id
