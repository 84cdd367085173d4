"""Dagster definitions, one module per Dagster concept. They decide when and for which partition work runs.

How objects are loaded, compared or refreshed belongs to `ingest` and `storage`.
"""
