-- The newest $rows entries of the audit trail, newest first: when, what, who did it or to whom it was done, and about what. Entries of access
-- are in log order; what was ended by retention, by day, stands after the entries from before it.
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
        coalesce(
            review.decision || ' ' || review.version, 'roll back ' || rollback.version, 'train by ' || request.method,
            'erase ' || erasure.what || ' ' || erasure.name
        )
    FROM decision_made made
    LEFT JOIN review_decided review ON review.event_id = made.decision
    LEFT JOIN model_rolled_back rollback ON rollback.event_id = made.decision
    LEFT JOIN training_requested request ON request.event_id = made.decision
    LEFT JOIN person_erased erasure ON erasure.event_id = made.decision
),
ended AS (
    SELECT max(occurred_at) AS occurred_at, concat(what, 's: ', count(*)) AS about
    FROM person_erased
    WHERE cause = 'retention'
    GROUP BY occurred_at::DATE, what
),
whole AS (
    FROM trail
    UNION ALL
    SELECT
        coalesce((SELECT max(log_offset) FROM trail WHERE trail.occurred_at <= ended.occurred_at), -1), ended.occurred_at,
        'ended by retention', NULL, ended.about
    FROM ended
)
SELECT occurred_at, what, who, about FROM whole ORDER BY log_offset DESC, occurred_at DESC, about LIMIT $rows
