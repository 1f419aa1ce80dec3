SELECT sequence, any_value(event_id) AS event_id, count(*) AS n
FROM (SELECT sequence, event_id FROM preference_joined UNION ALL SELECT sequence, event_id FROM preference_removed)
GROUP BY sequence
HAVING n > 1
