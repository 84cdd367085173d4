"""A real PostgreSQL of our own, from a wheel, for whoever has configured no database.

One server per directory, shared by all processes that use it and stopped when none does: see `uses`.
"""

from twap_pipeline.embedded.instance import EmbeddedPostgres, ensure_running

__all__ = ["EmbeddedPostgres", "ensure_running"]
