-- Number of events per station of the loop.
SELECT 'replies' AS station, count(*) AS n FROM reply_sent
UNION ALL SELECT 'pairs', count(*) FROM pair_drawn
UNION ALL SELECT 'embedded', count(*) FROM pair_embedded
UNION ALL SELECT 'judgments', count(*) FROM judgment_given
UNION ALL SELECT 'ratings', count(*) FROM response_rated
UNION ALL SELECT 'preferences', count(*) FROM preference_joined
UNION ALL SELECT 'removed', count(*) FROM preference_removed
UNION ALL SELECT 'reward_updates', count(*) FROM reward_updated
UNION ALL SELECT 'requested', count(DISTINCT run_id) FROM training_requested
UNION ALL SELECT 'frozen', count(DISTINCT run_id) FROM dataset_frozen
UNION ALL SELECT 'failed', count(*) FROM training_failed
UNION ALL SELECT 'evaluated', count(*) FROM model_evaluated
UNION ALL SELECT 'reviewed', count(*) FROM review_decided
UNION ALL SELECT 'promoted', count(*) FROM model_promoted
UNION ALL SELECT 'rolled_back', count(*) FROM model_rolled_back
UNION ALL SELECT 'quarantined', count(*) FROM event_quarantined
