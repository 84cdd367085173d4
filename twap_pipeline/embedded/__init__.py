"""Local PostgreSQL server from a wheel, for runs without a configured database.

There is one server per directory. All processes share it, and it stops after its last client: see ``instance``.
This package imports nothing of the other packages except ``errors``.
"""

from twap_pipeline.embedded.instance import EmbeddedPostgres, close_clients, ensure_running

__all__ = ["EmbeddedPostgres", "close_clients", "ensure_running"]
