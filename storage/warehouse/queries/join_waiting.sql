-- Judgments whose pair or its features have not come, in the order in which they were read.
SELECT judgment_given.*
FROM judgment_given
WHERE pair_id NOT IN (SELECT pair_id FROM pair_drawn) OR pair_id NOT IN (SELECT pair_id FROM pair_embedded)
ORDER BY judgment_given.rowid
