-- Writing the ledger of one org, under its lock.

-- name: lock
SELECT pg_advisory_xact_lock(hashtextextended('tollgate.ledger.' || $1, 0))

-- name: by_key
SELECT id, (jsonb_build_object('kind', kind) || payload)::text AS payload FROM ledger_transactions
WHERE org_id = $1 AND idempotency_key = $2

-- name: standing
SELECT granted_microcredits, spent_microcredits, debt_microcredits, last_transaction_id
FROM ledger_balances WHERE org_id = $1

-- name: open_grants
-- Those that have credits left, and those that expired after $2 with some unused. (NULL: what expired is not asked for.)
SELECT g.grant_id, g.kind, g.priority, g.expires_at, g.created_at, b.left_microcredits,
       CASE WHEN $2::timestamptz IS NULL THEN 0 ELSE b.broken_microcredits END AS broken_microcredits
FROM ledger_grant_balances b JOIN ledger_grants g USING (grant_id)
WHERE b.org_id = $1
  AND (b.left_microcredits > 0 OR (b.broken_microcredits > 0 AND g.expires_at > $2::timestamptz))

-- name: insert_transaction
INSERT INTO ledger_transactions (
    org_id, kind, idempotency_key, payload, occurred_at, recorded_at, actor, reason, ref, balance_after_microcredits
)
VALUES (
    $1, $2, $3, $4::text::jsonb, $5, $6, $7, $8, $9,
    $10::bigint
    + coalesce((SELECT granted_microcredits - spent_microcredits FROM ledger_balances WHERE org_id = $1), 0)
)
RETURNING id

-- name: insert_grant
INSERT INTO ledger_grants (
    grant_id, org_id, transaction_id, kind, amount_microcredits, priority, expires_at, created_at
)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8)

-- name: insert_lines
INSERT INTO ledger_lines (transaction_id, line, account, grant_id, amount_microcredits)
SELECT $1, place - 1, account, grant_id, amount
FROM unnest($2::text[], $3::text[], $4::bigint[]) WITH ORDINALITY AS lines (account, grant_id, amount, place)

-- name: announce
-- What Redis is to be told, if anything: what was granted more or less, and what is left in grants that expire (of the
-- next $4 instants). $3: this was a top-up, so say what the balance is just after it.
WITH latest AS (
    SELECT id, rungs FROM balance_outbox WHERE org_id = $1 ORDER BY id DESC LIMIT 1
),
ladder AS (
    SELECT coalesce(string_agg(at_us || ':' || left_microcredits, ' ' ORDER BY at_us), '') AS rungs
    FROM (
        SELECT (extract(epoch FROM g.expires_at) * 1000000)::bigint AS at_us, sum(b.left_microcredits) AS left_microcredits
        FROM ledger_grant_balances b JOIN ledger_grants g USING (grant_id)
        WHERE b.org_id = $1 AND b.left_microcredits > 0 AND g.expires_at IS NOT NULL
        GROUP BY g.expires_at ORDER BY g.expires_at LIMIT $4
    ) next_ones
)
INSERT INTO balance_outbox (org_id, after_id, granted_microcredits, rungs, reference_microcredits)
SELECT $1, coalesce((SELECT id FROM latest), 0), $2::bigint, ladder.rungs,
       CASE WHEN $3::boolean THEN (
           SELECT b.granted_microcredits - b.spent_microcredits - coalesce((
               SELECT sum(microcredits) FROM ledger_pending p WHERE p.org_id = $1 AND p.from_balance), 0)
           FROM ledger_balances b WHERE b.org_id = $1) END
FROM ladder
WHERE $2::bigint <> 0 OR $3::boolean OR ladder.rungs <> coalesce((SELECT rungs FROM latest), '')

-- name: untold
-- What was granted by changes after $2, which Redis has still to be told of.
SELECT coalesce(sum(granted_microcredits), 0)::bigint FROM balance_outbox WHERE org_id = $1 AND id > $2

-- name: transaction
SELECT * FROM ledger_transactions WHERE org_id = $1 AND id = $2

-- name: lines_of
SELECT transaction_id, account, grant_id, amount_microcredits FROM ledger_lines
WHERE transaction_id = ANY ($1::bigint[]) ORDER BY transaction_id, line

-- name: refunded
-- What refunds of $2 gave back so far, by grant.
SELECT l.grant_id, sum(l.amount_microcredits)::bigint AS microcredits
FROM ledger_transactions t JOIN ledger_lines l ON l.transaction_id = t.id
WHERE t.org_id = $1 AND t.ref = $2 AND t.kind = 'refund' AND l.account = 'customer_credit'
GROUP BY l.grant_id

-- name: take_pending
-- The oldest usage that is not posted yet, at most $2 rows of it.
DELETE FROM ledger_pending WHERE id IN (
    SELECT id FROM ledger_pending WHERE org_id = $1 ORDER BY id LIMIT $2
)
RETURNING from_balance, minute, microcredits, requests

-- name: orgs_with_pending
SELECT DISTINCT org_id FROM ledger_pending

-- name: orgs_with_expired
SELECT DISTINCT b.org_id FROM ledger_grant_balances b JOIN ledger_grants g USING (grant_id)
WHERE b.left_microcredits > 0 AND g.expires_at <= $1

-- name: last_credited
-- When credits last came into these grants.
SELECT l.grant_id, max(t.occurred_at) AS at
FROM ledger_lines l JOIN ledger_transactions t ON t.id = l.transaction_id
WHERE l.grant_id = ANY ($1::text[]) AND l.account = 'customer_credit' AND l.amount_microcredits > 0
GROUP BY l.grant_id

-- name: expiring
SELECT g.org_id, g.grant_id, g.kind, g.expires_at, b.left_microcredits
FROM ledger_grant_balances b JOIN ledger_grants g USING (grant_id)
WHERE b.left_microcredits > 0 AND g.expires_at > $1 AND g.expires_at <= $2
ORDER BY g.org_id, g.expires_at, g.grant_id
