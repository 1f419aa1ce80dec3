-- The newest $limit open pairs of the arm "informative" among the last $window, with the features that the embedding $embedding_hash made.
WITH newest AS (
    SELECT rowid AS place, pair_id, opinions AS needed
    FROM pair_drawn
    WHERE
        arm = 'informative' AND stratum = 'training' AND drawn NOT IN ('imported', 'edited')
        AND rowid > (SELECT max(rowid) FROM pair_drawn) - $window
),
given AS (
    SELECT pair_id, count(*) AS opinions
    FROM judgment_given
    WHERE choice IS DISTINCT FROM 'skip' AND pair_id IN (SELECT pair_id FROM newest)
    GROUP BY pair_id
),
chosen AS (
    SELECT place, pair_id
    FROM newest
    LEFT JOIN given USING (pair_id)
    WHERE
        coalesce(opinions, 0) < coalesce(needed, $opinions)
        AND pair_id IN (SELECT pair_id FROM pair_embedded WHERE embedding_hash = $embedding_hash)
    ORDER BY place DESC
    LIMIT $limit
)
SELECT pair_id, any_value(a) AS a, any_value(b) AS b, max(place) AS place
FROM chosen
JOIN pair_embedded USING (pair_id)
WHERE embedding_hash = $embedding_hash
GROUP BY pair_id
ORDER BY place DESC
