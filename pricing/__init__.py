"""What usage costs: prices, dated and exact, in integers. Pure; the only files it reads are its own."""
