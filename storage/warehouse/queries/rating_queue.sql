-- Pairs that $recruiter may judge, newest first: embedded, drawn for judging, not judged by this recruiter, and with fewer than $opinions
-- opinions (a skip is none). dashboard/outstanding.py counts the same. Newest is what the log brought last (rows are only appended): a pair
-- that a wrong clock has stamped with a year to come is not first for ever.
-- Only the last $window pairs are looked at: judgments and features of those few are found quickly however many there are. Texts are read
-- last, of the pairs that are returned.
WITH newest AS (
    SELECT rowid AS place, pair_id
    FROM pair_drawn
    WHERE drawn NOT IN ('imported', 'edited') AND rowid > (SELECT max(rowid) FROM pair_drawn) - $window
),
judged AS (
    SELECT
        pair_id,
        count(*) AS judgments,
        count(*) FILTER (choice IS DISTINCT FROM 'skip') AS opinions,
        bool_or(recruiter = $recruiter) AS by_this_one
    FROM judgment_given
    WHERE pair_id IN (SELECT pair_id FROM newest)
    GROUP BY pair_id
),
chosen AS (
    SELECT place, coalesce(judgments, 0) AS judgments
    FROM newest
    LEFT JOIN judged USING (pair_id)
    WHERE
        pair_id IN (SELECT pair_id FROM pair_embedded)
        AND NOT coalesce(by_this_one, false)
        AND coalesce(opinions, 0) < $opinions
    ORDER BY place DESC
    LIMIT $limit
)
SELECT
    pair_id, conversation_id, prompt, a_text AS a, b_text AS b, a_version, b_version, drawn, stratum, source, occurred_at, judgments
FROM chosen
JOIN pair_drawn ON pair_drawn.rowid = place
ORDER BY place DESC
