-- Numbered preferences that do not match their judgment, pair and features, with the fields that differ; not those of erased people,
-- whose sources are gone.
WITH pairs AS (SELECT pair_id, arg_min(stratum, rowid) AS stratum FROM pair_drawn GROUP BY pair_id),
compared AS (
    SELECT
        joined.sequence, joined.event_id, judgment_pair_id, judgment_recruiter,
        list_filter([
            CASE WHEN given.event_id IS NULL THEN 'its judgment, which is not there' END,
            CASE WHEN given.pair_id <> judgment_pair_id THEN 'the pair' END,
            CASE WHEN given.recruiter <> judgment_recruiter THEN 'the recruiter' END,
            CASE WHEN given.event_id IS NOT NULL AND given.choice IS DISTINCT FROM judgment_choice THEN 'the choice' END,
            CASE WHEN given.objectives <> judgment_objectives THEN 'the objectives' END,
            CASE WHEN given.event_id IS NOT NULL AND given.strength IS DISTINCT FROM judgment_strength THEN 'the strength' END,
            CASE WHEN given.event_id IS NOT NULL AND given.reason IS DISTINCT FROM judgment_reason THEN 'the reason' END,
            CASE WHEN given.event_id IS NOT NULL AND given.shown_first IS DISTINCT FROM judgment_shown_first THEN 'the order shown' END,
            CASE WHEN given.event_id IS NOT NULL AND given.seconds IS DISTINCT FROM judgment_seconds THEN 'the seconds' END,
            CASE WHEN given.counts <> judgment_counts THEN 'whether it counts' END,
            CASE WHEN given.source <> judgment_source OR given.source <> joined.source THEN 'the source' END,
            CASE WHEN given.occurred_at <> judgment_occurred_at OR given.occurred_at <> joined.occurred_at THEN 'the time' END,
            CASE WHEN pairs.stratum IS DISTINCT FROM joined.stratum THEN 'the stratum' END,
            CASE WHEN embedded.pair_id IS NULL THEN 'the features' END
        ], lambda what: what IS NOT NULL) AS differing
    FROM preference_joined AS joined
    LEFT JOIN judgment_given AS given ON given.event_id = joined.judgment_event_id
    LEFT JOIN pairs ON pairs.pair_id = joined.judgment_pair_id
    LEFT JOIN (SELECT DISTINCT pair_id, embedding_hash, a, b FROM pair_embedded) AS embedded
        ON embedded.pair_id = joined.judgment_pair_id AND embedded.embedding_hash = joined.embedding_hash
        AND embedded.a = joined.a AND embedded.b = joined.b
)
SELECT sequence, event_id, differing
FROM compared
WHERE
    len(differing) > 0
    AND judgment_pair_id NOT IN (SELECT name::UUID FROM erased WHERE what = 'pair')
    AND judgment_recruiter NOT IN (SELECT name FROM erased WHERE what = 'recruiter')
ORDER BY sequence
