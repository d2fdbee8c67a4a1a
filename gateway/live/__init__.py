"""What is spent, told while it happens: settlements, totals, alerts and calls in flight, to whoever may see them."""
