-- The ratings of a snapshot, from $sources and both strata, totally ordered: each recruiter's last thumb or score of a reply (above the
-- middle of its scale: good; below: not; the middle, or a withdrawal: no rating), and both replies of each pair that a recruiter's last judgment calls "neither". Cut at offsets: replies up to $cut, and thumbs, judgments and pairs up to
-- $ratings_cut, $judgments_cut and $pairs_cut (lists of offsets parallel to $partitions, $ratings_partitions and so on). A "neither"
-- after $through_sequence that replaces a preference of the snapshot is left out, because the snapshot still holds the preference.
WITH called_neither AS (SELECT DISTINCT pair_id FROM judgment_given WHERE choice = 'neither'),
rated AS (
    SELECT *, coalesce(thumb, CASE WHEN 2 * score > lowest + highest THEN 'up' WHEN 2 * score < lowest + highest THEN 'down' END) AS said
    FROM response_rated
    WHERE "comment" IS NULL AND log_offset <= $ratings_cut[list_position($ratings_partitions, log_partition)]
),
replies AS (
    SELECT event_id AS reply_id, conversation_id, prompt, reply, stratum, occurred_at AS replied_at, log_partition, log_offset
    FROM reply_sent
    WHERE log_offset <= $cut[list_position($partitions, log_partition)]
),
thumbs AS (
    SELECT
        rated.event_id, rated.recruiter, rated.said, rated.source, rated.occurred_at, rated.log_partition, rated.log_offset,
        replies.* EXCLUDE (replied_at, log_partition, log_offset)
    FROM rated
    JOIN replies ON replies.reply_id = rated.reply_id AND replies.conversation_id = coalesce(rated.conversation_id, replies.conversation_id)
    UNION ALL
    (
        -- A rating without a reply's id is of the conversation's last reply at that time.
        SELECT
            rated.event_id, rated.recruiter, rated.said, rated.source, rated.occurred_at, rated.log_partition, rated.log_offset,
            replies.* EXCLUDE (replied_at, log_partition, log_offset)
        FROM rated
        JOIN replies ON replies.conversation_id = rated.conversation_id
        WHERE rated.reply_id IS NULL AND replies.replied_at <= rated.occurred_at
        QUALIFY row_number() OVER (PARTITION BY rated.event_id ORDER BY replies.log_partition, replies.log_offset DESC) = 1
    )
),
standing_thumbs AS (
    -- The last on the log holds. Ratings of one reply are in two partitions where only some name its conversation; then the later holds.
    SELECT *
    FROM (
        SELECT *
        FROM thumbs
        QUALIFY row_number() OVER (PARTITION BY reply_id, recruiter, log_partition ORDER BY log_offset DESC) = 1
    )
    QUALIFY row_number() OVER (PARTITION BY reply_id, recruiter ORDER BY occurred_at DESC, log_partition) = 1
),
pairs AS (
    SELECT *
    FROM pair_drawn
    SEMI JOIN called_neither USING (pair_id)
    WHERE log_offset <= $pairs_cut[list_position($pairs_partitions, log_partition)]
    QUALIFY row_number() OVER (PARTITION BY pair_id ORDER BY log_topic, log_partition, log_offset) = 1
),
standing_judgments AS (
    SELECT *
    FROM judgment_given
    SEMI JOIN called_neither USING (pair_id)
    WHERE log_offset <= $judgments_cut[list_position($judgments_partitions, log_partition)]
    QUALIFY row_number() OVER (PARTITION BY pair_id, recruiter ORDER BY log_partition, log_offset DESC) = 1
),
preferences AS (
    SELECT judgment_pair_id AS pair_id, judgment_recruiter AS recruiter
    FROM preference_joined
    WHERE
        sequence <= $through_sequence
        AND sequence NOT IN (SELECT removes FROM preference_removed WHERE preference_removed.sequence <= $through_sequence)
),
ratings AS (
    SELECT event_id, NULL::VARCHAR AS side, conversation_id, prompt, reply, said = 'up' AS good, recruiter, stratum, source, occurred_at
    FROM standing_thumbs
    WHERE said IS NOT NULL
    UNION ALL
    SELECT
        said.event_id, side, pairs.conversation_id, pairs.prompt, CASE side WHEN 'A' THEN pairs.a_text ELSE pairs.b_text END, false,
        said.recruiter, pairs.stratum, said.source, said.occurred_at
    FROM standing_judgments AS said
    JOIN pairs USING (pair_id)
    ANTI JOIN preferences ON preferences.pair_id = said.pair_id AND preferences.recruiter = said.recruiter
    CROSS JOIN (VALUES ('A'), ('B')) AS sides (side)
    WHERE said.choice = 'neither'
)
SELECT * FROM ratings WHERE list_contains($sources, source) ORDER BY occurred_at, event_id, side
