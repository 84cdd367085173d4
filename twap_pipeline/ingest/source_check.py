"""Checks that a store and a database belong together: the objects of two sources have the same keys."""

from collections.abc import Collection

from sqlalchemy import Engine

from twap_pipeline.domain.data_set import TWAP_STATUS, DataSet
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.source.base import URL_SETTINGS, ObjectStore
from twap_pipeline.source.identity import SAMPLE_PREFIX, source_identity
from twap_pipeline.storage.ingest_log import find_other_source


def require_same_source(
    engine: Engine, store: ObjectStore, accepted_urls: Collection[str], *, data_set: DataSet = TWAP_STATUS
) -> None:
    """Return if the data set has log entries of this source, or of none, or if the source is accepted by name.

    Raises:
        ConfigurationError: The log contains objects of another source; the message names both sources.
    """
    identity = source_identity(store.url)
    if identity in map(source_identity, accepted_urls):
        return
    with engine.connect() as connection:
        other = find_other_source(connection, identity, data_set=data_set)
    if other is not None and other.startswith(SAMPLE_PREFIX) and identity.startswith(SAMPLE_PREFIX):
        raise ConfigurationError(
            f"the source is {_describe(identity)}, and the database contains objects of {_describe(other)}: the sample"
            " was generated again. Stop all commands, delete the folders postgres, sample and dagster in TWAP_HOME"
            " (default .twap), and run `twap-pipeline demo`"
        )
    if other is not None:
        raise ConfigurationError(
            f"the source is {_describe(identity)}, and the database contains objects of {_describe(other)}: objects"
            " with the same key would replace each other. Use another database (DATABASE_URL, or another TWAP_HOME for"
            f" the embedded one), or correct {URL_SETTINGS[data_set.name]}. If both contain the same data set, set"
            f" TWAP_ACCEPT_SOURCE_URLS={identity}"
        )


def _describe(identity: str) -> str:
    until = identity.removeprefix(SAMPLE_PREFIX)
    return identity if until == identity else f"the generated sample until {until}"
