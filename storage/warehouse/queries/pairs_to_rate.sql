-- Number of open pairs: embedded, drawn for judging, and with fewer opinions than they need (skips do not count).
WITH given AS (
    SELECT pair_id, count(*) AS opinions FROM judgment_given WHERE choice IS DISTINCT FROM 'skip' GROUP BY pair_id
)
SELECT count(DISTINCT pair_id) AS n
FROM pair_drawn
LEFT JOIN given USING (pair_id)
WHERE
    drawn NOT IN ('imported', 'edited')
    AND pair_id IN (SELECT pair_id FROM pair_embedded)
    AND coalesce(given.opinions, 0) < coalesce(pair_drawn.opinions, $opinions)
