-- The ids of the keys of all sealed texts that are stored (storage/events/tokens.py).
SELECT DISTINCT substr(token, 5, 16) AS kid
FROM (
    SELECT reply AS token FROM reply_sent
    UNION ALL SELECT a_text FROM pair_drawn
    UNION ALL SELECT b_text FROM pair_drawn
    UNION ALL SELECT reason FROM judgment_given
    UNION ALL SELECT reason FROM response_rated
    UNION ALL SELECT "comment" FROM response_rated
    UNION ALL SELECT edited FROM response_edited
    UNION ALL SELECT unnest(map_values("groups"::JSON::MAP(VARCHAR, VARCHAR))) FROM groups_recorded
)
WHERE starts_with(token, chr(2))
