SELECT event_id, recruiter, choice, objectives, strength, reason, shown_first, seconds, source, occurred_at
FROM judgment_given
WHERE pair_id = $pair_id::UUID
ORDER BY occurred_at, event_id
