"""What several commands share: the ``--source`` option, the settings, the database and the port check.

Keep command logic out of this module, and keep Dagster out of it: commands that need no Dagster must start fast.
"""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import date
from typing import TypeVar

import click
from sqlalchemy import URL, Engine

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.ingest.source_check import require_same_source
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.source.base import ObjectStore
from twap_pipeline.storage.engine.engine import open_database
from twap_pipeline.storage.schema.revision_gate import require_head

_Function = TypeVar("_Function", bound=Callable[..., object])

DATA_SETS = {data_set.name: data_set for data_set in (TWAP_STATUS, TWAP_FILLS)}
"""Name → data set: the values of the option ``--data-set``."""

MAX_PRINTED_FAILURES = 20
"""Failures or findings that a command prints in full."""


_CONNECT_TIMEOUT_SECONDS = 2.0

PORT = click.IntRange(1, 65535)
"""Type of the option ``--port``."""


def source_option(function: _Function) -> _Function:
    """Add the option ``--source`` as parameter ``source_url``."""
    option: Callable[[_Function], _Function] = click.option(
        "--source",
        "source_url",
        help="Source URL: s3://bucket/prefix/ or file:///directory/.  [default: TWAP_SOURCE_URL or TWAP_FILLS_URL]",
    )
    return option(function)


def data_set_option(function: _Function) -> _Function:
    """Add the option ``--data-set`` as parameter ``data_set_name``."""
    option: Callable[[_Function], _Function] = click.option(
        "--data-set",
        "data_set_name",
        type=click.Choice(list(DATA_SETS)),
        default=TWAP_STATUS.name,
        show_default=True,
        help="Statuses of orders, or their fills.",
    )
    return option(function)


def load_command_settings(source_url: str | None, data_set: DataSet = TWAP_STATUS) -> Settings:
    """Return the settings of the environment, with the source URL of the command line if there is one."""
    settings = load_settings()
    field = "fills_url" if data_set == TWAP_FILLS else "source_url"
    return settings.model_copy(update={field: source_url}) if source_url else settings


def first_partition(settings: Settings, data_set: DataSet) -> tuple[date, str]:
    """Return the first UTC day of the partitions of a data set, and the setting that changes it."""
    if data_set == TWAP_FILLS:
        return settings.fills_start_date, "TWAP_FILLS_START_DATE"
    return settings.start_date, "TWAP_START_DATE"


def database(settings: Settings) -> AbstractContextManager[tuple[Engine, URL]]:
    """Return `open_database` for the configured or embedded database: yields an engine and its URL.

    The sessions have the name of the running command, such as ``twap_pipeline_ingest``.
    """
    command = click.get_current_context().info_name
    return open_database(
        settings.database_url_text, settings.home, f"twap_pipeline_{command}", lambda: load_settings().database_url_text
    )


def require_source(settings: Settings, engine: Engine, store: ObjectStore, data_set: DataSet = TWAP_STATUS) -> None:
    """Check that the database is at head and that its ingest log has no objects of the data set of another source.

    Raises:
        SchemaRevisionError: The database is not at head.
        ConfigurationError: The ingest log contains objects of another source.
    """
    require_head(engine)
    require_same_source(engine, store, settings.accept_source_urls, data_set=data_set)


def require_free_port(host: str, port: int) -> None:
    """Return if a server can listen on the address.

    Raises:
        ConfigurationError: The port is in use, or the host is not an address of this machine.
    """
    try:
        for family, *_, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE):
            socket.create_server(address[:2], family=family).close()
    except (OSError, UnicodeError) as error:
        cause = getattr(error, "strerror", None) or error
        raise ConfigurationError(
            f"cannot listen on {host}:{port}: {cause}; choose another --port or --host, or stop what uses the port"
        ) from error


def is_listening(host: str, port: int) -> bool:
    """Return whether a server accepts connections on the address."""
    try:
        socket.create_connection((host, port), timeout=_CONNECT_TIMEOUT_SECONDS).close()
    except OSError:
        return False
    return True
