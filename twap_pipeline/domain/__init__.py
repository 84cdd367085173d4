"""The TWAP status event: columns, parsing, validation and row counts, as pure functions of frames.

Nothing in this package performs I/O or imports Dagster.
"""
