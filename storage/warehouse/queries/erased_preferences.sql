-- Preferences of erased pairs and recruiters, with the number that removed them, if any.
SELECT joined.sequence, removed.sequence AS removed_by
FROM preference_joined AS joined
LEFT JOIN preference_removed AS removed ON removed.removes = joined.sequence
WHERE
    joined.judgment_pair_id IN (SELECT name::UUID FROM erased WHERE what = 'pair')
    OR joined.judgment_recruiter IN (SELECT name FROM erased WHERE what = 'recruiter')
ORDER BY joined.sequence
