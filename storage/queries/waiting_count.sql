-- How many judgments wait for their pair, how many for its features alone, and how many seconds the longest has waited.
SELECT
    count(*) FILTER (WHERE pair_id NOT IN (SELECT pair_id FROM pair_drawn)) AS without_pair,
    count(*) FILTER (WHERE pair_id IN (SELECT pair_id FROM pair_drawn)) AS without_features,
    epoch(now()) - epoch(min(occurred_at)) AS seconds
FROM judgment_given
WHERE pair_id NOT IN (SELECT pair_id FROM pair_drawn) OR pair_id NOT IN (SELECT pair_id FROM pair_embedded)
