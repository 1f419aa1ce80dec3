-- Conversations in which nothing has happened since $before, at most $limit, those that are quiet for longest first. Judgments, ratings and
-- rewrites are events of the conversation that they are about; what is about none that is stored counts for none.
WITH happened AS (
    SELECT conversation_id, occurred_at FROM reply_sent
    UNION ALL SELECT conversation_id, occurred_at FROM intervention_made
    UNION ALL SELECT conversation_id, occurred_at FROM pair_drawn
    UNION ALL
    SELECT pairs.conversation_id, given.occurred_at FROM judgment_given AS given JOIN pair_drawn AS pairs USING (pair_id)
    UNION ALL
    SELECT coalesce(rated.conversation_id, replies.conversation_id), rated.occurred_at
    FROM response_rated AS rated
    LEFT JOIN reply_sent AS replies ON replies.event_id = rated.reply_id
    UNION ALL
    SELECT coalesce(edits.conversation_id, replies.conversation_id, pairs.conversation_id), edits.occurred_at
    FROM response_edited AS edits
    LEFT JOIN reply_sent AS replies ON replies.event_id = edits.reply_id
    LEFT JOIN pair_drawn AS pairs ON pairs.pair_id = edits.original_pair
)
SELECT conversation_id AS name
FROM happened
WHERE conversation_id IS NOT NULL
GROUP BY conversation_id
HAVING max(occurred_at) < $before
ORDER BY max(occurred_at), conversation_id
LIMIT $limit
