-- How many pairs nobody has judged yet.
SELECT count(*) AS n
FROM pair_drawn
WHERE
    drawn NOT IN ('imported', 'edited')
    AND pair_id IN (SELECT pair_id FROM pair_embedded)
    AND pair_id NOT IN (SELECT pair_id FROM judgment_given)
