-- name: books
-- One line per balance asked for, in their order: what was granted by changes, and what was spent by rows, that the
-- asker has seen. (upto_change NULL: all changes. One that was delivered must have been seen.)
SELECT asked.org_id,
       (coalesce(b.granted_microcredits, 0) - coalesce(untold.microcredits, 0))::bigint AS granted,
       (coalesce(b.spent_microcredits, 0) + coalesce(pending.microcredits, 0) - coalesce(unseen.microcredits, 0))::bigint
           AS spent,
       coalesce(latest.id, 0) AS change_id,
       coalesce(latest.rungs, '') AS rungs,
       topped_up.reference_microcredits AS reference
FROM unnest($1::text[], $2::integer[], $3::bigint[], $4::bigint[]) WITH ORDINALITY
    AS asked (org_id, partition, upto_sequence, upto_change, place)
LEFT JOIN ledger_balances b ON b.org_id = asked.org_id
LEFT JOIN LATERAL (
    SELECT sum(p.microcredits) AS microcredits FROM ledger_pending p WHERE p.org_id = asked.org_id AND p.from_balance
) AS pending ON true
LEFT JOIN LATERAL (
    SELECT sum(e.credits_microcredits) AS microcredits FROM usage_events e
    WHERE e.partition = asked.partition AND e.sequence > asked.upto_sequence
      AND e.org_id = asked.org_id AND e.from_balance
) AS unseen ON true
LEFT JOIN LATERAL (
    SELECT sum(o.granted_microcredits) AS microcredits FROM balance_outbox o
    WHERE o.org_id = asked.org_id AND o.id > asked.upto_change AND o.delivered_at IS NULL
) AS untold ON true
LEFT JOIN LATERAL (
    SELECT o.id, o.rungs FROM balance_outbox o WHERE o.org_id = asked.org_id ORDER BY o.id DESC LIMIT 1
) AS latest ON true
LEFT JOIN LATERAL (
    SELECT o.reference_microcredits FROM balance_outbox o
    WHERE o.org_id = asked.org_id AND o.reference_microcredits IS NOT NULL ORDER BY o.id DESC LIMIT 1
) AS topped_up ON true
ORDER BY asked.place

-- name: due
SELECT id, org_id, after_id, granted_microcredits, rungs, reference_microcredits FROM balance_outbox
WHERE delivered_at IS NULL AND ($1::text IS NULL OR org_id = $1) AND org_id <> ALL ($3::text[])
ORDER BY id LIMIT $2

-- name: delivered
UPDATE balance_outbox SET delivered_at = $2 WHERE id = $1 AND delivered_at IS NULL

-- name: latest
-- Of each org whose changes were all delivered, the last.
SELECT o.id, o.org_id, o.after_id, o.granted_microcredits, o.rungs, o.reference_microcredits
FROM ledger_balances b CROSS JOIN LATERAL (
    SELECT * FROM balance_outbox WHERE org_id = b.org_id ORDER BY id DESC LIMIT 1
) o
WHERE o.delivered_at IS NOT NULL
ORDER BY o.org_id

-- name: prune
-- The latest change of an org, and its latest top-up, are needed by the next one.
DELETE FROM balance_outbox o WHERE o.delivered_at < $1
  AND EXISTS (SELECT FROM balance_outbox n WHERE n.org_id = o.org_id AND n.id > o.id)
  AND (o.reference_microcredits IS NULL OR EXISTS (
      SELECT FROM balance_outbox n
      WHERE n.org_id = o.org_id AND n.id > o.id AND n.reference_microcredits IS NOT NULL))

-- name: differences
-- Where the ledger is not what it is made of, from one snapshot: usage against rollups (which are proven against rows,
-- and outlive them), kept sums against lines.
WITH lines AS (
    SELECT t.org_id, l.grant_id, l.account, t.kind = 'usage' AS is_usage, sum(l.amount_microcredits) AS microcredits
    FROM ledger_lines l JOIN ledger_transactions t ON t.id = l.transaction_id
    GROUP BY 1, 2, 3, 4
),
usage AS (
    SELECT org_id, sum(rolled) AS expected, sum(posted) AS found
    FROM (
        SELECT org_id, credits_microcredits AS rolled, 0 AS posted FROM usage_rollups
        UNION ALL SELECT org_id, 0, microcredits FROM lines WHERE account = 'usage_revenue'
        UNION ALL SELECT org_id, 0, microcredits FROM ledger_pending
    ) both_sides
    GROUP BY org_id
),
kept_sums AS (
    SELECT org_id, what, sum(of_lines) AS expected, sum(kept) AS found
    FROM (
        SELECT org_id, 'granted' AS what, microcredits AS of_lines, 0 AS kept FROM lines
        WHERE account = 'customer_credit' AND NOT is_usage
        UNION ALL SELECT org_id, 'spent', -microcredits, 0 FROM lines WHERE account = 'customer_credit' AND is_usage
        UNION ALL SELECT org_id, 'debt', microcredits, 0 FROM lines
        WHERE account = 'customer_credit' AND grant_id IS NULL
        UNION ALL SELECT org_id, 'receivable', microcredits, 0 FROM lines WHERE account = 'receivable'
        UNION ALL SELECT org_id, grant_id || CASE account WHEN 'breakage' THEN ' broken' ELSE '' END, microcredits, 0
        FROM lines WHERE account IN ('customer_credit', 'breakage') AND grant_id IS NOT NULL
        UNION ALL SELECT org_id, sums.what, 0, sums.kept FROM ledger_balances CROSS JOIN LATERAL (VALUES
            ('granted', granted_microcredits), ('spent', spent_microcredits), ('debt', debt_microcredits),
            ('receivable', receivable_microcredits)) AS sums (what, kept)
        UNION ALL SELECT org_id, grant_id, 0, left_microcredits FROM ledger_grant_balances
        UNION ALL SELECT org_id, grant_id || ' broken', 0, broken_microcredits FROM ledger_grant_balances
    ) both_sides
    GROUP BY org_id, what
)
SELECT 'ledger ' || org_id || ' usage' AS what, expected::bigint, found::bigint FROM usage WHERE expected <> found
UNION ALL
SELECT 'ledger ' || org_id || ' ' || what, expected::bigint, found::bigint FROM kept_sums WHERE expected <> found
ORDER BY 1 LIMIT 1000
