"""Tests of the package ``twap_pipeline.storage``, most of them on a real PostgreSQL."""
