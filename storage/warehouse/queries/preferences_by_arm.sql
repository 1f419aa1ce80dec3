-- The standing preferences from $sources with an overall choice, the newest $limit, with the arm of the rating queue that asked for them.
SELECT
    "sequence", arm, drawn, preference_joined.stratum, conversation_id, embedding_hash, preference_joined.a, preference_joined.b,
    judgment_choice AS choice, judgment_strength AS strength, judgment_shown_first AS shown_first, judgment_recruiter AS recruiter,
    judgment_source AS source
FROM preference_joined
JOIN (
    SELECT pair_id, any_value(arm) AS arm, any_value(drawn) AS drawn, any_value(conversation_id) AS conversation_id
    FROM pair_drawn
    GROUP BY pair_id
) AS pairs ON pairs.pair_id = judgment_pair_id
WHERE
    judgment_choice IN ('A', 'B', 'tie')
    AND drawn NOT IN ('imported', 'edited')
    AND list_contains($sources, judgment_source)
    AND "sequence" NOT IN (SELECT removes FROM preference_removed)
ORDER BY "sequence" DESC
LIMIT $limit
