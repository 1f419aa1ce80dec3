SELECT topic, "partition", "offset", reader, reason, payload_hash, source, occurred_at
FROM event_quarantined
ORDER BY occurred_at DESC, event_id DESC
LIMIT $limit
