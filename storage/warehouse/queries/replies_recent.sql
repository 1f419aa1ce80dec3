SELECT event_id, conversation_id, prompt, reply, version, stratum, source, occurred_at
FROM reply_sent
ORDER BY occurred_at DESC, event_id DESC
LIMIT $limit
