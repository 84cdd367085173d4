"""The query side over HTTP: a shell beside Dagster's that reads what the pipeline wrote, and never writes.

Here belong paths, bodies, refusals and limits. What is asked of the tables is in `storage.queries`.
"""

from twap_pipeline.api.app import create_app

__all__ = ["create_app"]
