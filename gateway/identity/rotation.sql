-- name: sealed_columns
-- Every column that holds sealed text, and the primary key of its table, in order: both are in the place that each
-- value is bound to.
SELECT c.table_name AS table_name, c.column_name AS column_name,
       (SELECT array_agg(a.attname::text ORDER BY k.place)
        FROM pg_index i
        CROSS JOIN LATERAL unnest(i.indkey) WITH ORDINALITY AS k (number, place)
        JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number
        WHERE i.indrelid = format('%I.%I', c.table_schema, c.table_name)::regclass AND i.indisprimary) AS key_columns
FROM information_schema.columns c
JOIN information_schema.tables t USING (table_schema, table_name)
WHERE c.table_schema = current_schema() AND t.table_type = 'BASE TABLE' AND c.column_name LIKE '%\_sealed'
ORDER BY 1, 2

-- name: stale
-- {table}, {column} and {key} (the key's columns as text, in an array) come from the catalogue, quoted.
SELECT {key} AS key, {column} AS sealed
FROM {table}
WHERE {column} IS NOT NULL AND NOT starts_with({column}, $1) AND {key} > $2::text[]
ORDER BY {key}
LIMIT $3

-- name: count
SELECT count(*) FROM {table} WHERE {column} IS NOT NULL AND NOT starts_with({column}, $1)

-- name: replace
-- Only what is still as it was read: whoever wrote something else meanwhile sealed it with their own key.
UPDATE {table} SET {column} = $3 WHERE {key} = $1::text[] AND {column} = $2
