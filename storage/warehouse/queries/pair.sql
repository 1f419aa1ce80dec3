-- One pair, and whether it is embedded.
SELECT
    pair_id, conversation_id, prompt, a_text AS a, b_text AS b, a_version, b_version, drawn, stratum, source, occurred_at,
    (SELECT count(*) FROM judgment_given AS given WHERE given.pair_id = pair_drawn.pair_id) AS judgments,
    pair_id IN (SELECT pair_id FROM pair_embedded) AS embedded
FROM pair_drawn
WHERE pair_id = $pair_id::UUID
ORDER BY log_offset
LIMIT 1
