SELECT recruiter, source, count(*) AS judgments, min(occurred_at) AS first, max(occurred_at) AS last
FROM judgment_given
GROUP BY recruiter, source
ORDER BY judgments DESC, recruiter, source
