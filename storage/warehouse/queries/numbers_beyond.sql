-- Number of entries numbered above $n, and the last one.
SELECT count(DISTINCT sequence) AS n, max(sequence) AS last
FROM (SELECT sequence FROM preference_joined UNION ALL SELECT sequence FROM preference_removed)
WHERE sequence > $n
