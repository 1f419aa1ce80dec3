-- The newest $rows entries of the audit trail, newest first: when, what, who did it or to whom it was done, and about what.
WITH trail AS (
    SELECT log_offset, occurred_at, 'key issued' AS what, NULL AS who, name || ': ' || scopes AS about FROM key_issued
    UNION ALL SELECT log_offset, occurred_at, 'key revoked', NULL, key_id FROM key_revoked
    UNION ALL SELECT log_offset, occurred_at, 'person added', person, roles FROM person_added
    UNION ALL SELECT log_offset, occurred_at, 'roles changed', person, roles FROM roles_changed
    UNION ALL SELECT log_offset, occurred_at, 'person removed', person, NULL FROM person_removed
    UNION ALL SELECT log_offset, occurred_at, 'signed in', person, how FROM signed_in
    UNION ALL SELECT log_offset, occurred_at, 'signed out', person, NULL FROM signed_out
    UNION ALL SELECT log_offset, occurred_at, 'refused', caller, concat(request, ', status ', status, ', ', times, ' times') FROM requests_refused
    UNION ALL
    SELECT made.log_offset, made.occurred_at, 'decided', made.caller,
        coalesce(review.decision || ' ' || review.version, 'roll back ' || rollback.version, 'train by ' || request.method)
    FROM decision_made made
    LEFT JOIN review_decided review ON review.event_id = made.decision
    LEFT JOIN model_rolled_back rollback ON rollback.event_id = made.decision
    LEFT JOIN training_requested request ON request.event_id = made.decision
)
SELECT occurred_at, what, who, about FROM trail ORDER BY log_offset DESC LIMIT $rows
