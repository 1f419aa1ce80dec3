-- How much the service holds of the person $person, who judges as $recruiter: for each kind of entry the number, the first and the last.
WITH entries AS (
    SELECT 'judgments' AS what, occurred_at FROM judgment_given WHERE recruiter = $recruiter
    UNION ALL SELECT 'thumbs, scores and comments', occurred_at FROM response_rated WHERE recruiter = $recruiter
    UNION ALL SELECT 'rewrites', occurred_at FROM response_edited WHERE recruiter = $recruiter
    UNION ALL SELECT 'reviews', occurred_at FROM review_decided WHERE reviewer = $person
    UNION ALL SELECT 'rollbacks', occurred_at FROM model_rolled_back WHERE reviewer = $person
    UNION ALL SELECT 'requested trainings', occurred_at FROM training_requested WHERE requested_by = $person
    UNION ALL SELECT 'sign-ins', occurred_at FROM signed_in WHERE person = $person
    UNION ALL SELECT 'sign-outs', occurred_at FROM signed_out WHERE person = $person
    UNION ALL SELECT 'refused requests', occurred_at FROM requests_refused WHERE caller = 'person:' || $person
)
SELECT what, count(*) AS n, min(occurred_at) AS "first", max(occurred_at) AS "last" FROM entries GROUP BY what ORDER BY what
