-- The pairs $pair_ids as the rating queue returns them.
SELECT pair_id, conversation_id, prompt, a_text AS a, b_text AS b, arm, priority, stratum, source
FROM pair_drawn
WHERE pair_id IN (SELECT unnest($pair_ids)::UUID)
