-- Recruiters who judged pairs that have fewer opinions than they need, or are not drawn yet, with the number of opinions each gave
-- (0: only skips).
WITH needs AS (
    SELECT pair_id, min(coalesce(opinions, $opinions)) AS needed FROM pair_drawn GROUP BY pair_id
),
given AS (
    SELECT pair_id, count(*) FILTER (choice IS DISTINCT FROM 'skip') AS opinions FROM judgment_given GROUP BY pair_id
)
SELECT pair_id, recruiter, count(*) FILTER (choice IS DISTINCT FROM 'skip') AS opinions
FROM judgment_given
WHERE pair_id NOT IN (SELECT pair_id FROM given JOIN needs USING (pair_id) WHERE given.opinions >= needed)
GROUP BY pair_id, recruiter
