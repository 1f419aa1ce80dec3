-- Ids of the entries numbered $low to $high.
SELECT sequence, event_id FROM preference_joined WHERE sequence BETWEEN $low AND $high
UNION ALL
SELECT sequence, event_id FROM preference_removed WHERE sequence BETWEEN $low AND $high
