-- The lower 64 bits of all event ids, for deduplication. Numbered preferences are deduplicated by their sequence numbers instead.
SELECT (event_id::UHUGEINT & 18446744073709551615::UHUGEINT)::UBIGINT AS half FROM (
    SELECT event_id FROM reply_sent
    UNION ALL SELECT event_id FROM intervention_made
    UNION ALL SELECT event_id FROM pair_drawn
    UNION ALL SELECT event_id FROM judgment_given
    UNION ALL SELECT event_id FROM response_rated
    UNION ALL SELECT event_id FROM response_edited
    UNION ALL SELECT event_id FROM groups_recorded
    UNION ALL SELECT event_id FROM outcome_recorded
    UNION ALL SELECT event_id FROM pair_embedded
    UNION ALL SELECT event_id FROM hub_claimed
    UNION ALL SELECT event_id FROM event_quarantined
    UNION ALL SELECT event_id FROM reward_updated
    UNION ALL SELECT event_id FROM training_requested
    UNION ALL SELECT event_id FROM dataset_frozen
    UNION ALL SELECT event_id FROM run_claimed
    UNION ALL SELECT event_id FROM training_progress
    UNION ALL SELECT event_id FROM training_failed
    UNION ALL SELECT event_id FROM model_evaluated
    UNION ALL SELECT event_id FROM review_decided
    UNION ALL SELECT event_id FROM duel_decided
    UNION ALL SELECT event_id FROM canary_started
    UNION ALL SELECT event_id FROM model_promoted
    UNION ALL SELECT event_id FROM model_rolled_back
    UNION ALL SELECT event_id FROM person_erased
)
