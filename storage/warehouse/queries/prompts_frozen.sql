-- The prompts that a challenger is evaluated on: replies of the evaluation stratum, from $sources, after $since and up to $cut (lists of
-- offsets parallel to $partitions), the first reply to each prompt. Sealed prompts are told apart by their keys.
SELECT event_id AS reply_id, conversation_id, prompt, reply, version, stratum, source, occurred_at
FROM reply_sent
WHERE
    stratum = 'evaluation'
    AND list_contains($sources, source)
    AND log_offset <= $cut[list_position($partitions, log_partition)]
    AND log_offset > $since[list_position($partitions, log_partition)]
QUALIFY row_number() OVER (PARTITION BY coalesce(prompt_key, prompt) ORDER BY occurred_at, event_id) = 1
ORDER BY occurred_at, event_id
