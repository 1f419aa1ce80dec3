-- The id of each numbered entry, and of the judgment that it adds or removes.
SELECT 'PreferenceJoined' AS kind, sequence, event_id, judgment_event_id FROM preference_joined
UNION ALL
SELECT 'PreferenceRemoved', removed.sequence, removed.event_id, joined.judgment_event_id
FROM preference_removed AS removed JOIN preference_joined AS joined ON joined.sequence = removed.removes
ORDER BY sequence
