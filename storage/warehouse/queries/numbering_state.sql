-- State of the numbering: the epoch claimed here, the highest epoch on the log, the last number assigned.
SELECT
    (SELECT max(epoch) FROM numbering) AS epoch,
    coalesce((SELECT max(epoch) FROM hub_claimed), 0) AS log_epoch,
    greatest(
        coalesce((SELECT max(sequence) FROM preference_joined), 0),
        coalesce((SELECT max(sequence) FROM preference_removed), 0)
    ) AS last_sequence
