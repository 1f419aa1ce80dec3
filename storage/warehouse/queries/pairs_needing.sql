-- Pairs that say themselves how many opinions they need, and do not have them yet.
WITH given AS (
    SELECT pair_id, count(*) AS opinions FROM judgment_given WHERE choice IS DISTINCT FROM 'skip' GROUP BY pair_id
)
SELECT pair_id, min(pair_drawn.opinions) AS needed
FROM pair_drawn
LEFT JOIN given USING (pair_id)
WHERE pair_drawn.opinions IS NOT NULL
GROUP BY pair_id
HAVING max(coalesce(given.opinions, 0)) < needed
