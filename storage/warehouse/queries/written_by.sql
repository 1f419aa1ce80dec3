-- Whether $recruiter wrote a response of the pair $pair_id.
SELECT 1 AS found
FROM pair_drawn
WHERE pair_id = $pair_id::UUID AND $recruiter IN (a_version, b_version)
LIMIT 1
