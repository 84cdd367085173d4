"""What assets need from outside: the database, the object store, and the guard before both.

A resource only builds a plain object; everything else is told plain arguments. Nothing here is settable by run config:
addresses and secrets come from the environment and stay out of runs and their records.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import dagster as dg
from dagster_aws.s3 import S3Resource

from twap_pipeline.errors import ConfigurationError, SchemaRevisionError
from twap_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy import Engine

    from twap_pipeline.source.base import ObjectStore

S3_MAX_ATTEMPTS = 3
"""botocore's retries of one request: with these it sends a failing request 4 times."""


class DatabaseResource(dg.ConfigurableResource[None]):
    """DATABASE_URL, or the embedded PostgreSQL."""

    @contextmanager
    def engine(self) -> Iterator["Engine"]:
        """Yield an engine and close its connections in the end."""
        from twap_pipeline.storage.engine.engine import (
            make_engine,
            resolve_or_start_database,
            translate_connection_errors,
        )

        settings = load_settings()
        url = resolve_or_start_database(settings.database_url_text, settings.home)
        engine = make_engine(url)
        try:
            with translate_connection_errors(url):
                yield engine
        finally:
            engine.dispose()


class ObjectStoreResource(dg.ConfigurableResource[None]):
    """The bucket or directory of TWAP_SOURCE_URL, or the sample."""

    s3: S3Resource

    def open(self) -> "ObjectStore":
        """Return the store; a bucket's client takes a tenth of a second to make, so open once per run."""
        return open_store(load_settings(), self.s3)


class SchemaGuard(dg.ConfigurableResource[None]):
    """Refuses work unless the database is at this code's Alembic head.

    The check is a method, called first in an asset's body: a Failure raised while a resource is set up would be
    retried.
    """

    def require_head(self, engine: "Engine") -> None:
        """Raise a Failure that names both revisions and the command that mends it, unless they agree."""
        from twap_pipeline.storage.schema.revision_gate import require_head

        try:
            require_head(engine)
        except SchemaRevisionError as error:
            raise dg.Failure(str(error), allow_retries=False) from error


def open_store(settings: Settings, s3: S3Resource) -> "ObjectStore":
    """Return the object store that the settings name; makes the sample if that is meant and missing.

    Raises:
        ConfigurationError: A database is configured and no source: made-up orders never go into a real database.
            Or the S3 endpoint is not safe to be asked.
    """
    from twap_pipeline.sample import generate_sample
    from twap_pipeline.source.base import S3Location, parse_source_url
    from twap_pipeline.source.endpoint_policy import require_safe_endpoint
    from twap_pipeline.source.local import LocalDirectory
    from twap_pipeline.source.s3 import S3Bucket

    if settings.source_url is None and settings.database_url is not None:
        raise ConfigurationError(
            "DATABASE_URL is set and TWAP_SOURCE_URL is not: the sample's made-up orders never go into a real database;"
            " set TWAP_SOURCE_URL=s3://bucket/prefix/, or file:///directory/"
        )
    if settings.source_url is None:
        generate_sample(settings.sample_directory)
    place = parse_source_url(settings.effective_source_url)
    if isinstance(place, S3Location):
        client = s3.get_client()
        if not settings.allow_insecure_endpoint:
            require_safe_endpoint(client.meta.endpoint_url)
        return S3Bucket(client, place)
    return LocalDirectory(place)
