SELECT * FROM preference_removed WHERE sequence > $n ORDER BY sequence LIMIT $limit
