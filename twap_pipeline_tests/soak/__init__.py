"""The parts of the soak test: a simulated bucket, fault injection and verification.

`benchmarks.soak` runs them against a real ``dagster dev``. This package does not import `benchmarks`.
"""
