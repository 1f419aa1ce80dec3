-- The last processed offset of each partition; each batch appends a row.
SELECT log_topic, log_partition, max(log_offset) AS log_offset FROM offsets GROUP BY ALL
