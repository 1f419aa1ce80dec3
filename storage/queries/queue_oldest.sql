-- Pairs that $recruiter may judge, oldest first: embedded, drawn for judging, and not judged by this recruiter.
SELECT
    pair_id, conversation_id, prompt, a_text AS a, b_text AS b, a_version, b_version, drawn, stratum, source, occurred_at,
    (SELECT count(*) FROM judgment_given AS given WHERE given.pair_id = pair_drawn.pair_id) AS judgments
FROM pair_drawn
WHERE
    drawn NOT IN ('imported', 'edited')
    AND pair_id IN (SELECT pair_id FROM pair_embedded)
    AND pair_id NOT IN (SELECT pair_id FROM judgment_given WHERE recruiter = $recruiter)
ORDER BY occurred_at, pair_id
LIMIT $limit
