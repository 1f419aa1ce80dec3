SELECT * FROM preference_joined WHERE sequence > $n ORDER BY sequence LIMIT $limit
