-- Reading the credit ledger of one org.

-- name: entries
-- Newest first, before $2.
SELECT t.id, t.org_id, t.kind, t.occurred_at, t.recorded_at, t.actor, t.reason, t.ref, t.balance_after_microcredits
FROM ledger_transactions t
WHERE t.org_id = $1
  AND ($2::bigint IS NULL OR t.id < $2)
  AND ($3::text IS NULL OR t.kind = $3)
  AND ($4::timestamptz IS NULL OR t.occurred_at >= $4)
  AND ($5::timestamptz IS NULL OR t.occurred_at < $5)
ORDER BY t.id DESC
LIMIT $6

-- name: grants
-- Newest first, before $2.
SELECT g.grant_id, g.org_id, g.transaction_id, g.kind, g.amount_microcredits, g.priority, g.expires_at, g.created_at,
       b.left_microcredits, b.broken_microcredits, t.actor, t.reason, t.ref
FROM ledger_grants g
JOIN ledger_grant_balances b USING (grant_id)
JOIN ledger_transactions t ON t.id = g.transaction_id
WHERE g.org_id = $1
  AND ($2::bigint IS NULL OR g.transaction_id < $2)
  AND ($3::bigint IS NULL OR g.transaction_id = $3)
  AND (NOT $4::boolean OR (b.left_microcredits > 0 AND (g.expires_at IS NULL OR g.expires_at > $5)))
ORDER BY g.transaction_id DESC
LIMIT $6

-- name: statement
-- By kind, what changed the balance in [$2, $3).
SELECT t.kind, sum(l.amount_microcredits)::bigint AS microcredits, count(DISTINCT t.id) AS transactions,
       min(t.id) AS first_id, max(t.id) AS last_id
FROM ledger_transactions t JOIN ledger_lines l ON l.transaction_id = t.id AND l.account = 'customer_credit'
WHERE t.org_id = $1 AND t.occurred_at >= $2 AND t.occurred_at < $3
GROUP BY t.kind

-- name: balance_before
-- Today's balance less all that came to pass since: cheaper than adding up everything before.
SELECT (
    coalesce((SELECT granted_microcredits - spent_microcredits FROM ledger_balances WHERE org_id = $1), 0)
    - coalesce((
        SELECT sum(l.amount_microcredits)
        FROM ledger_transactions t JOIN ledger_lines l ON l.transaction_id = t.id AND l.account = 'customer_credit'
        WHERE t.org_id = $1 AND t.occurred_at >= $2), 0)
)::bigint

-- name: postpaid
-- Used in [$2, $3) without being charged to the balance, posted or about to be.
SELECT (
    coalesce((
        SELECT sum(l.amount_microcredits)
        FROM ledger_transactions t JOIN ledger_lines l ON l.transaction_id = t.id AND l.account = 'usage_revenue'
        WHERE t.org_id = $1 AND t.kind = 'postpaid_usage' AND t.occurred_at >= $2 AND t.occurred_at < $3), 0)
    + coalesce((
        SELECT sum(microcredits) FROM ledger_pending
        WHERE org_id = $1 AND NOT from_balance AND minute >= $2 AND minute < $3), 0)
)::bigint

-- name: usage_not_posted
SELECT coalesce(sum(microcredits), 0)::bigint FROM ledger_pending
WHERE org_id = $1 AND from_balance AND minute >= $2 AND minute < $3
