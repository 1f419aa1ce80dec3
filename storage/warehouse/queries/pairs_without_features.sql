-- Pairs drawn before $before without features, oldest first, with all columns so that they can be published again.
SELECT pair_drawn.*
FROM pair_drawn ANTI JOIN pair_embedded USING (pair_id)
WHERE occurred_at < $before
ORDER BY occurred_at, event_id
LIMIT $limit
