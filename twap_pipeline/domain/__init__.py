"""What a TWAP status event is: its columns, how source values are parsed and validated, and row counts.

Nothing in this package performs I/O or imports Dagster.
"""
