-- Number of replies, pairs and judgments by source.
SELECT 'replies' AS station, source, count(*) AS n FROM reply_sent GROUP BY source
UNION ALL SELECT 'pairs', source, count(*) FROM pair_drawn GROUP BY source
UNION ALL SELECT 'judgments', source, count(*) FROM judgment_given GROUP BY source
ORDER BY station, source
