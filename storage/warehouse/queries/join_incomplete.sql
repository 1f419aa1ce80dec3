-- Pairs without features, and features without a pair. Of several embeddings of a pair the last one read is used.
SELECT pair_id, any_value(stratum) AS stratum, NULL AS embedding_hash, NULL AS a, NULL AS b
FROM pair_drawn ANTI JOIN pair_embedded USING (pair_id)
GROUP BY pair_id
UNION ALL
SELECT pair_id, NULL, arg_max(embedding_hash, log_offset), arg_max(a, log_offset), arg_max(b, log_offset)
FROM pair_embedded ANTI JOIN pair_drawn USING (pair_id)
GROUP BY pair_id
