-- Complete pairs among $ids, with the last embedding read.
SELECT pair_id, stratum, embedding_hash, a, b
FROM (SELECT pair_id, arg_min(stratum, log_offset) AS stratum
      FROM pair_drawn WHERE pair_id IN (SELECT unnest($ids)::UUID) GROUP BY pair_id)
JOIN (SELECT pair_id, arg_max(embedding_hash, log_offset) AS embedding_hash, arg_max(a, log_offset) AS a, arg_max(b, log_offset) AS b
      FROM pair_embedded WHERE pair_id IN (SELECT unnest($ids)::UUID) GROUP BY pair_id) USING (pair_id)
