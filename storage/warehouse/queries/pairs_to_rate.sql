-- Number of open pairs: embedded, drawn for judging, and with fewer than $opinions opinions (skips do not count).
SELECT count(DISTINCT pair_id) AS n
FROM pair_drawn
WHERE
    drawn NOT IN ('imported', 'edited')
    AND pair_id IN (SELECT pair_id FROM pair_embedded)
    AND pair_id NOT IN (
        SELECT pair_id FROM judgment_given WHERE choice IS DISTINCT FROM 'skip' GROUP BY pair_id HAVING count(*) >= $opinions
    )
