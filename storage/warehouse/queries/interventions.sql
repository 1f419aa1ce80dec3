-- Number of interventions by filter and action.
SELECT "filter", "action", sum(times)::BIGINT AS n FROM intervention_made GROUP BY ALL ORDER BY ALL
