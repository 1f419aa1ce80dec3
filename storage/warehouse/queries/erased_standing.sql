-- Preferences of erased pairs and recruiters that nothing removes yet.
SELECT joined.sequence, joined.judgment_event_id, joined.source
FROM preference_joined AS joined
ANTI JOIN preference_removed AS removed ON removed.removes = joined.sequence
WHERE
    joined.judgment_pair_id IN (SELECT name::UUID FROM erased WHERE what = 'pair')
    OR joined.judgment_recruiter IN (SELECT name FROM erased WHERE what = 'recruiter')
ORDER BY joined.sequence
