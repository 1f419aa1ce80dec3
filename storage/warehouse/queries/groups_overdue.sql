-- The records of groups from before $before of candidates of whom no conversation and no decision is stored any more, at most $limit, the
-- oldest first.
SELECT event_id::VARCHAR AS name
FROM groups_recorded
ANTI JOIN reply_sent USING (candidate)
ANTI JOIN outcome_recorded USING (candidate)
WHERE groups_recorded.occurred_at < $before
ORDER BY groups_recorded.occurred_at, groups_recorded.event_id
LIMIT $limit
