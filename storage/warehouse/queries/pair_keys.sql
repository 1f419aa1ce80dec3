-- A 61-bit key of every pair that is drawn, embedded, or settled (with the opinions it needs, or not drawn for judging), by state.
WITH given AS (
    SELECT pair_id, count(*) AS opinions FROM judgment_given WHERE choice IS DISTINCT FROM 'skip' GROUP BY pair_id
)
SELECT 'drawn' AS state, (pair_id::UHUGEINT % 2305843009213693951::UHUGEINT)::UBIGINT AS key FROM pair_drawn
UNION ALL SELECT 'embedded', (pair_id::UHUGEINT % 2305843009213693951::UHUGEINT)::UBIGINT FROM pair_embedded
UNION ALL
SELECT 'settled', (pair_id::UHUGEINT % 2305843009213693951::UHUGEINT)::UBIGINT
FROM pair_drawn
JOIN given USING (pair_id)
WHERE given.opinions >= coalesce(pair_drawn.opinions, $opinions)
UNION ALL
SELECT 'settled', (pair_id::UHUGEINT % 2305843009213693951::UHUGEINT)::UBIGINT FROM pair_drawn WHERE drawn IN ('imported', 'edited')
