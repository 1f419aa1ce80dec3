-- Pairs that $recruiter may judge, newest first: embedded, drawn for judging, not judged by this recruiter, and with fewer than $opinions
-- opinions (skips do not count). dashboard/status/backlog.py counts the same pairs. Newest means last appended (by rowid), so that a pair
-- with a timestamp in the future is not first for ever.
-- Only the last $window pairs are considered, so that the query is fast however many there are. Texts are read last, for returned pairs only.
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
