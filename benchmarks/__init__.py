"""Measurements, each as a ratio to a limit of the same run: ``python -m benchmarks``. Nothing here asserts a time."""
