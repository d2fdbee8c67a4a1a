"""What was used, by whom, for how much, and what to expect: reports, comparisons, forecasts.

Everything here only reads. Questions are restricted by the `Reach` of whoever asks, in SQL; arithmetic is pure and
sums are integer microcredits from the table to the last byte of an export.
"""
