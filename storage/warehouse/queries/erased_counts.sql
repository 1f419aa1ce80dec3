SELECT what, count(*) AS n FROM erased GROUP BY what
