"""Budgets: limits, windows, holds, and what keeps them exact.

What other packages use:

- `gateway.budgets.model`: the words (`Limit`, `Subject`, `Ask`, `Grant`, `Settled`) and the `Holds` protocol.
- `gateway.budgets.directory.Directory`: every org's rules, compiled from limits.yaml.
- `gateway.budgets.holding.Holding`: the ``async with`` around one request.
- `gateway.budgets.keeper.Keeper`: renews this gateway's holds and runs the reaper.
- `gateway.budgets.redis_holds.RedisHolds` and `gateway.budgets.memory.MemoryHolds`: the two implementations.

What the ledger implements or reads:

- `gateway.budgets.ports.Ledger`: what Postgres knows was spent, asked when a counter must be seeded.
- `gateway.budgets.ports.CounterReading`: one counter with its identity, as `RedisBooks.counters()` in
  `gateway.budgets.redis_books` yields them for reconcile. Every org that ever spent has at least its own
  total (scope org, window total, no selector).
- `RedisBooks.committed(partition, request_ids)`: to be called after rows were committed, so that the markers
  against double settlement expire one day later.
- Stream of partition N: `gateway.budgets.keyspace.stream_key(N)`; its entries are described in
  `gateway.ledger.event`.
"""
