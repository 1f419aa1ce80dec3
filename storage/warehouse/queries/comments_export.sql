-- Comments on replies from $sources in log order, without those withdrawn: those that a rating without thumb, score and comment follows, by
-- the same recruiter on the same reply. A comment whose reply is not stored yet comes without it.
WITH rated AS (
    SELECT *, thumb IS NULL AND score IS NULL AND "comment" IS NULL AS withdraws
    FROM response_rated
    WHERE thumb IS NULL AND score IS NULL AND list_contains($sources, source)
),
found AS (
    SELECT rated.event_id, replies.event_id AS of_reply
    FROM rated JOIN reply_sent AS replies ON replies.event_id = rated.reply_id
    UNION ALL
    (
        SELECT rated.event_id, replies.event_id
        FROM rated JOIN reply_sent AS replies USING (conversation_id)
        WHERE rated.reply_id IS NULL AND replies.occurred_at <= rated.occurred_at
        QUALIFY row_number() OVER (PARTITION BY rated.event_id ORDER BY replies.log_partition, replies.log_offset DESC) = 1
    )
),
about AS (
    SELECT rated.*, coalesce(of_reply, reply_id) AS of_reply, coalesce(of_reply::VARCHAR, reply_id::VARCHAR, conversation_id) AS thing
    FROM rated LEFT JOIN found USING (event_id)
),
standing AS (
    SELECT *
    FROM about
    QUALIFY
        NOT withdraws
        AND log_offset > coalesce(
            max(CASE WHEN withdraws THEN log_offset END) OVER (PARTITION BY thing, recruiter, log_partition), -1
        )
)
SELECT
    standing.event_id, standing.of_reply AS reply_id, coalesce(replies.conversation_id, standing.conversation_id) AS conversation_id,
    replies.prompt, replies.reply, standing."comment", standing.recruiter, replies.version, standing.source, standing.occurred_at
FROM standing LEFT JOIN reply_sent AS replies ON replies.event_id = standing.of_reply
ORDER BY standing.log_partition, standing.log_offset
