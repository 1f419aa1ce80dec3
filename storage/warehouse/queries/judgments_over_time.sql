-- Judgments since $since in buckets of $seconds.
SELECT time_bucket(to_seconds($seconds), occurred_at) AS bucket, source, coalesce(choice, 'objectives') AS choice, count(*) AS n
FROM judgment_given
WHERE occurred_at >= $since
GROUP BY ALL
ORDER BY ALL
