-- Pairs that $recruiter may judge, newest first: embedded, drawn for judging, not judged by this recruiter, and by fewer than $opinions others.
SELECT
    pair_id, conversation_id, prompt, a_text AS a, b_text AS b, a_version, b_version, drawn, stratum, source, occurred_at,
    (SELECT count(*) FROM judgment_given AS given WHERE given.pair_id = pair_drawn.pair_id) AS judgments
FROM pair_drawn
WHERE
    drawn NOT IN ('imported', 'edited')
    AND pair_id IN (SELECT pair_id FROM pair_embedded)
    AND pair_id NOT IN (SELECT pair_id FROM judgment_given WHERE recruiter = $recruiter)
    AND (
        SELECT count(*) FROM judgment_given AS given WHERE given.pair_id = pair_drawn.pair_id AND given.choice IS DISTINCT FROM 'skip'
    ) < $opinions
ORDER BY occurred_at DESC, pair_id DESC
LIMIT $limit
