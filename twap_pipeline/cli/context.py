"""What several commands share: the ``--source`` option, the settings, the database, the source and the port check.

Keep command logic out of this module, and keep Dagster out of it: commands that need no Dagster must start fast.
"""

import socket
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TypeVar

import click
from sqlalchemy import URL, Engine

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.ingest.source_check import require_same_source
from twap_pipeline.settings import Settings, load_settings
from twap_pipeline.source.base import ObjectStore, open_store, resolve_source_url
from twap_pipeline.storage.engine.engine import open_database
from twap_pipeline.storage.schema.revision_gate import require_head

_Function = TypeVar("_Function", bound=Callable[..., object])

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
        help="Source URL: s3://bucket/prefix/ or file:///directory/.  [default: TWAP_SOURCE_URL]",
    )
    return option(function)


def load_command_settings(source_url: str | None) -> Settings:
    """Return the settings of the environment, with the source URL of the command line if there is one."""
    settings = load_settings()
    return settings.model_copy(update={"source_url": source_url}) if source_url else settings


def database(settings: Settings) -> AbstractContextManager[tuple[Engine, URL]]:
    """Return `open_database` for the configured or embedded database: yields an engine and its URL.

    The sessions have the name of the running command, such as ``twap_pipeline_ingest``.
    """
    command = click.get_current_context().info_name
    return open_database(
        settings.database_url_text, settings.home, f"twap_pipeline_{command}", lambda: load_settings().database_url_text
    )


def require_source(settings: Settings, engine: Engine, store: ObjectStore) -> None:
    """Check that the database is at head and that its ingest log contains no objects of another source.

    Raises:
        SchemaRevisionError: The database is not at head.
        ConfigurationError: The ingest log contains objects of another source.
    """
    require_head(engine)
    require_same_source(engine, store, settings.accept_source_url_list)


def source(settings: Settings) -> ObjectStore:
    """Return the object store of the source URL, or of the sample data.

    Raises:
        ConfigurationError: A database is configured without a source, or the S3 endpoint is not allowed.
    """
    url = resolve_source_url(
        settings.source_url,
        has_database=settings.database_url is not None,
        sample_directory=settings.sample_directory,
        sample=settings.sample,
    )
    return open_store(
        url, object_pattern=settings.object_pattern, allow_insecure_endpoint=settings.allow_insecure_endpoint
    )


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
