-- The newest ids of all kinds of facts, newest first, to tell repeats by. What is numbered here has its numbers for that.
SELECT event_id FROM (
    SELECT event_id, occurred_at FROM reply_sent
    UNION ALL SELECT event_id, occurred_at FROM pair_drawn
    UNION ALL SELECT event_id, occurred_at FROM judgment_given
    UNION ALL SELECT event_id, occurred_at FROM response_rated
    UNION ALL SELECT event_id, occurred_at FROM pair_embedded
    UNION ALL SELECT event_id, occurred_at FROM hub_claimed
    UNION ALL SELECT event_id, occurred_at FROM event_quarantined
    UNION ALL SELECT event_id, occurred_at FROM reward_updated
    UNION ALL SELECT event_id, occurred_at FROM training_requested
    UNION ALL SELECT event_id, occurred_at FROM dataset_frozen
    UNION ALL SELECT event_id, occurred_at FROM run_claimed
    UNION ALL SELECT event_id, occurred_at FROM training_progress
    UNION ALL SELECT event_id, occurred_at FROM training_failed
    UNION ALL SELECT event_id, occurred_at FROM model_evaluated
    UNION ALL SELECT event_id, occurred_at FROM review_decided
    UNION ALL SELECT event_id, occurred_at FROM model_promoted
    UNION ALL SELECT event_id, occurred_at FROM model_rolled_back
)
ORDER BY occurred_at DESC, event_id DESC
LIMIT $limit
