"""What every command starts from: the settings, the database, the source."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from twap_pipeline.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import URL, Engine

    from twap_pipeline.source.base import ObjectStore


@contextmanager
def database(settings: Settings) -> Iterator[tuple["Engine", "URL"]]:
    """Yield an engine on the configured or embedded database, and its URL; a refusal becomes one clear error."""
    from twap_pipeline.storage.engine.engine import make_engine, resolve_or_start_database, translate_connection_errors

    url = resolve_or_start_database(settings.database_url_text, settings.home)
    engine = make_engine(url)
    try:
        with translate_connection_errors(url):
            yield engine, url
    finally:
        engine.dispose()


def source(settings: Settings) -> "ObjectStore":
    """Return the configured source, or the sample."""
    from dagster_aws.s3 import S3Resource

    from twap_pipeline.defs.resources import S3_MAX_ATTEMPTS, open_store

    return open_store(settings, S3Resource(max_attempts=S3_MAX_ATTEMPTS))
