-- Recruiters who judged pairs that have fewer than $opinions opinions, with the number of opinions each gave (0: only skips).
SELECT pair_id, recruiter, count(*) FILTER (choice IS DISTINCT FROM 'skip') AS opinions
FROM judgment_given
WHERE pair_id NOT IN (
    SELECT pair_id FROM judgment_given WHERE choice IS DISTINCT FROM 'skip' GROUP BY pair_id HAVING count(*) >= $opinions
)
GROUP BY pair_id, recruiter
