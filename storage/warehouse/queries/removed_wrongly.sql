-- Unjustified removals: of a number that is not an earlier preference, or without a later judgment of the pair by the same recruiter, where
-- neither of them is erased.
SELECT removed.sequence, removed.event_id, removed.removes
FROM preference_removed AS removed
LEFT JOIN preference_joined AS joined ON joined.sequence = removed.removes AND joined.sequence < removed.sequence
LEFT JOIN (SELECT event_id, rowid AS place FROM judgment_given) AS held ON held.event_id = joined.judgment_event_id
LEFT JOIN (SELECT pair_id, recruiter, max(rowid) AS place FROM judgment_given GROUP BY ALL) AS latest
    ON latest.pair_id = joined.judgment_pair_id AND latest.recruiter = joined.judgment_recruiter
WHERE
    joined.sequence IS NULL
    OR (
        (latest.place IS NULL OR held.place IS NULL OR latest.place <= held.place)
        AND joined.judgment_pair_id NOT IN (SELECT name::UUID FROM erased WHERE what = 'pair')
        AND joined.judgment_recruiter NOT IN (SELECT name FROM erased WHERE what = 'recruiter')
    )
ORDER BY removed.sequence
