"""Measurements, each a ratio against a limit of the same run: ``python -m benchmarks``. Nothing is asserted here."""
