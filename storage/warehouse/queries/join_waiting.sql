-- Judgments whose pair or features have not arrived, in log order.
SELECT judgment_given.*
FROM judgment_given
WHERE pair_id NOT IN (SELECT pair_id FROM pair_drawn) OR pair_id NOT IN (SELECT pair_id FROM pair_embedded)
ORDER BY judgment_given.rowid
