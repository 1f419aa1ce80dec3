-- What a snapshot would hold of the evaluation stratum: judgments and recruiters at $through_sequence, and prompts after $since and up to
-- $cut (lists of offsets parallel to $partitions), all from $sources. As preferences_frozen and prompts_frozen select them.
SELECT
    (
        SELECT {'judgments': count(*), 'recruiters': count(DISTINCT judgment_recruiter)}
        FROM preference_joined
        WHERE
            stratum = 'evaluation'
            AND sequence <= $through_sequence
            AND list_contains($sources, judgment_source)
            AND judgment_choice IN ('A', 'B', 'tie')
            AND sequence NOT IN (SELECT removes FROM preference_removed WHERE preference_removed.sequence <= $through_sequence)
    ) AS judged,
    (
        SELECT count(DISTINCT coalesce(prompt_key, prompt))
        FROM reply_sent
        WHERE
            stratum = 'evaluation'
            AND list_contains($sources, source)
            AND log_offset <= $cut[list_position($partitions, log_partition)]
            AND log_offset > $since[list_position($partitions, log_partition)]
    ) AS prompts
