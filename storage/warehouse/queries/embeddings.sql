-- The embeddings of the numbered preferences, each with a vector of the most frequent length.
WITH usual AS (SELECT embedding_hash, mode(length(a)) AS length FROM preference_joined GROUP BY embedding_hash)
SELECT embedding_hash, any_value(a) AS a
FROM preference_joined
JOIN usual USING (embedding_hash)
WHERE length(a) = usual.length
GROUP BY embedding_hash
ORDER BY embedding_hash
