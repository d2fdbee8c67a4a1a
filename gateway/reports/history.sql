-- Usage request by request, and conversations.

-- name: lines
-- Newest first. What came later than the line that a page ended with is not on the pages after it, so they neither
-- repeat nor leave out any line that was there. $1 org, $2 from, $3 until before, $4 and $5 beyond which line,
-- $6 at most, filters from $7 on, reach from $17 on. One user, key or conversation is told apart from several: only of
-- one is there an index in the order asked for.
SELECT request_id, started_at, finished_at, team_id, user_id, key_id, conversation_id, end_user, tags, provider, model,
       model_served, operation, route, tier, streamed, input_tokens, cached_input_tokens, cache_write_tokens,
       output_tokens, reasoning_tokens, credits_microcredits, usage_source, status, flags, upstream_status, first_byte_ms
FROM usage_events
WHERE org_id = $1 AND started_at >= $2 AND started_at < $3
  AND ($4::timestamptz IS NULL OR (started_at, request_id) < ($4::timestamptz, $5::text))
  AND ($7::text IS NULL OR user_id = $7::text)
  AND ($8::text IS NULL OR key_id = $8::text)
  AND ($9::text IS NULL OR conversation_id = $9::text)
  AND ($10::text[] IS NULL OR user_id = ANY ($10::text[]))
  AND ($11::text[] IS NULL OR key_id = ANY ($11::text[]))
  AND ($12::text[] IS NULL OR conversation_id = ANY ($12::text[]))
  AND ($13::text[] IS NULL OR team_id = ANY ($13::text[]))
  AND ($14::text[] IS NULL OR provider = ANY ($14::text[]))
  AND ($15::text[] IS NULL OR model = ANY ($15::text[]))
  AND ($16::text[] IS NULL OR operation = ANY ($16::text[]))
  AND ($17::boolean OR team_id = ANY ($18::text[]) OR user_id = ANY ($19::text[]) OR key_id = ANY ($20::text[]))
  AND ($21::text IS NULL OR tags ->> $21::text = $22::text)
  AND ($23::text[] IS NULL OR status = ANY ($23::text[]))
ORDER BY started_at DESC, request_id DESC
LIMIT $6

-- name: people
-- Who used anything: whose pseudonym may have been asked for.
SELECT DISTINCT user_id FROM usage_days
WHERE org_id = $1 AND user_id <> ''
  AND day >= ($2::timestamptz AT TIME ZONE 'UTC')::date - 1 AND day <= ($3::timestamptz AT TIME ZONE 'UTC')::date + 1

-- name: conversation_costs
-- $1 org, $2 from, $3 until before, reach from $4 on.
SELECT sums.conversation_id, c.title, sums.requests, sums.credits_microcredits
FROM (
    SELECT conversation_id, count(*) AS requests, sum(credits_microcredits)::bigint AS credits_microcredits
    FROM usage_events
    WHERE org_id = $1 AND started_at >= $2 AND started_at < $3 AND conversation_id IS NOT NULL
      AND ($4::boolean OR team_id = ANY ($5::text[]) OR user_id = ANY ($6::text[]) OR key_id = ANY ($7::text[]))
    GROUP BY 1
) sums
-- The title is of whoever began the conversation: others who use its id are not told.
LEFT JOIN conversations c ON c.org_id = $1 AND c.conversation_id = sums.conversation_id
      AND ($4::boolean OR c.team_id = ANY ($5::text[]) OR c.user_id = ANY ($6::text[]) OR c.key_id = ANY ($7::text[]))
ORDER BY sums.credits_microcredits DESC, sums.conversation_id COLLATE "C"
LIMIT $8

-- name: conversations
-- Those that began last first; $6 and $7: beyond which. What others spent in a conversation is not told to those who
-- may not see it.
WITH listed AS (
    SELECT * FROM conversations
    WHERE org_id = $1
      AND ($2::boolean OR team_id = ANY ($3::text[]) OR user_id = ANY ($4::text[]) OR key_id = ANY ($5::text[]))
      AND ($6::timestamptz IS NULL OR (first_at, conversation_id) < ($6::timestamptz, $7::text))
      AND ($9::text IS NULL OR conversation_id = $9::text)
    ORDER BY first_at DESC, conversation_id DESC
    LIMIT $8
)
SELECT l.conversation_id, l.title, l.team_id, l.user_id, l.key_id, l.first_at, spent.last_at, spent.requests,
       spent.input_tokens, spent.output_tokens, spent.credits_microcredits
FROM listed l
CROSS JOIN LATERAL (
    SELECT max(started_at) AS last_at, count(*) AS requests, coalesce(sum(input_tokens), 0)::bigint AS input_tokens,
           coalesce(sum(output_tokens), 0)::bigint AS output_tokens,
           coalesce(sum(credits_microcredits), 0)::bigint AS credits_microcredits
    FROM usage_events e
    WHERE e.org_id = l.org_id AND e.conversation_id = l.conversation_id
      AND ($2::boolean OR e.team_id = ANY ($3::text[]) OR e.user_id = ANY ($4::text[]) OR e.key_id = ANY ($5::text[]))
) spent
ORDER BY l.first_at DESC, l.conversation_id DESC

-- name: name_conversation
UPDATE conversations SET title = $3
WHERE org_id = $1 AND conversation_id = $2
  AND ($4::boolean OR team_id = ANY ($5::text[]) OR user_id = ANY ($6::text[]) OR key_id = ANY ($7::text[]))
RETURNING conversation_id
