-- Recruiters who judged pairs that have fewer opinions than they need, or are not drawn yet, with the number of opinions each gave
-- (0: only skips, or they wrote one of the responses).
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
UNION ALL
SELECT pair_id, author, 0
FROM (SELECT pair_id, unnest([a_version, b_version]) AS author FROM pair_drawn WHERE drawn NOT IN ('imported', 'edited'))
WHERE
    regexp_full_match(author, 'r-[0-9a-f]{16}')
    AND pair_id NOT IN (SELECT pair_id FROM given JOIN needs USING (pair_id) WHERE given.opinions >= needed)
