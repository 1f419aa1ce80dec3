-- Pairs that $recruiter may judge, by priority, then newest first: embedded, drawn for judging, not judged by this recruiter, and with fewer
-- opinions than they need (skips do not count; $opinions unless the pair says itself); without those of which they wrote a response. dashboard/status/backlog.py counts the same pairs.
-- Newest means last appended (by rowid), so that a pair with a timestamp in the future is not first for ever.
-- Only the last $window pairs and those with a priority are considered, so that the query is fast however many there are. Texts are read
-- last, for returned pairs only.
WITH considered AS (
    SELECT rowid AS place, pair_id, opinions AS needed, priority
    FROM pair_drawn
    WHERE drawn NOT IN ('imported', 'edited') AND rowid > (SELECT max(rowid) FROM pair_drawn) - $window
        AND $recruiter NOT IN (a_version, b_version)
    UNION
    SELECT rowid, pair_id, opinions, priority
    FROM pair_drawn
    WHERE drawn NOT IN ('imported', 'edited') AND priority > 0 AND $recruiter NOT IN (a_version, b_version)
),
judged AS (
    SELECT
        pair_id,
        count(*) AS judgments,
        count(*) FILTER (choice IS DISTINCT FROM 'skip') AS opinions,
        bool_or(recruiter = $recruiter) AS by_this_one
    FROM judgment_given
    WHERE pair_id IN (SELECT pair_id FROM considered)
    GROUP BY pair_id
),
chosen AS (
    SELECT place, coalesce(judgments, 0) AS judgments
    FROM considered
    LEFT JOIN judged USING (pair_id)
    WHERE
        pair_id IN (SELECT pair_id FROM pair_embedded)
        AND NOT coalesce(by_this_one, false)
        AND coalesce(opinions, 0) < coalesce(needed, $opinions)
    ORDER BY priority DESC, place DESC
    LIMIT $limit
)
SELECT
    pair_id, conversation_id, prompt, a_text AS a, b_text AS b, a_version, b_version, drawn, arm, priority, stratum, source, occurred_at,
    judgments
FROM chosen
JOIN pair_drawn ON pair_drawn.rowid = place
ORDER BY priority DESC, place DESC
