-- The last offset dealt with of each partition: every batch adds where it got to.
SELECT log_topic, log_partition, max(log_offset) AS log_offset FROM offsets GROUP BY ALL
