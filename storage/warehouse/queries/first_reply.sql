-- Time of the first reply to a candidate, from $sources; NULL if there is none.
SELECT min(occurred_at) AS at FROM reply_sent WHERE list_contains($sources, source)
