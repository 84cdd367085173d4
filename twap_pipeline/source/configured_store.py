"""The object store that the settings name: a configured URL, or the sample data.

Stores and URLs belong in ``base``. The sample is generated here, when it is opened first.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.sample import generate_sample
from twap_pipeline.settings import Settings
from twap_pipeline.source.base import URL_SETTINGS, ObjectStore, open_store

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client


def open_configured_store(
    settings: Settings,
    data_set: DataSet = TWAP_STATUS,
    *,
    make_s3_client: "Callable[[], S3Client] | None" = None,
) -> ObjectStore:
    """Return the object store of a data set. The sample is generated if it is the source and does not exist.

    Raises:
        ConfigurationError: A database is configured without a source, there are no fills, the URL is not valid, or the
            S3 endpoint is not allowed.
    """
    is_fills = data_set == TWAP_FILLS
    return open_store(
        _fills_url(settings) if is_fills else _source_url(settings),
        object_pattern=settings.object_pattern,
        make_s3_client=make_s3_client,
        allow_insecure_endpoint=settings.allow_insecure_endpoint,
        prefixes=settings.fills_prefixes if is_fills else (),
        setting=URL_SETTINGS[data_set.name],
    )


def _source_url(settings: Settings) -> str:
    if settings.source_url is not None:
        return settings.source_url
    if settings.database_url is not None:
        raise ConfigurationError(
            "DATABASE_URL is set and TWAP_SOURCE_URL is not. The sample contains generated orders, which are only "
            "loaded into the embedded database. Set TWAP_SOURCE_URL=s3://bucket/prefix/ or file:///directory/"
        )
    generate_sample(settings.sample_directory, settings.sample)
    return settings.sample_statuses_url


def _fills_url(settings: Settings) -> str:
    url = settings.resolved_fills_url
    if url is None:
        raise ConfigurationError(
            "TWAP_FILLS_URL is not set, so that there are no fills: set it to s3://bucket/ or file:///directory/;"
            " docs/how-to/load-fills.md describes the bucket"
        )
    if settings.is_sample_fills:
        generate_sample(settings.sample_directory, settings.sample)
    return url
