"""All settings, and the only code of the package that reads settings from the environment.

Add a setting here as a field with an alias (the environment variable) and a description; the settings reference in
the documentation lists the same fields. Only composition roots (Dagster resources, the API's app factory, commands,
migrations) create a `Settings`. Code below them takes plain arguments.
"""

import os
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BeforeValidator,
    Field,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    SecretStr,
    ValidationError,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.logs import LogFormat
from twap_pipeline.paths import IS_CHECKOUT, ROOT
from twap_pipeline.sample.manifest import FILLS, STATUSES, SampleRequest, latest_until, read_manifest

DATASET_START = date(2025, 8, 17)
"""First day of the feed (UTC)."""

FILLS_START = date(2025, 7, 28)
"""First day of the fills (UTC), according to the vendor's documentation."""

_NAME_PATH = re.compile(r"[A-Za-z0-9_]+(/[A-Za-z0-9_]+)*")
_OWNER = re.compile(r"team:[A-Za-z0-9_-]+|[A-Za-z0-9_.+-]+@[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+")
_PREFIX = re.compile(r"(([^*/]+|\*)/)+")
_DATE_GROUPS = {"year", "month", "day"}


def default_home() -> Path:
    """Return the folder of local state: ``.twap`` in the checkout, or in the current folder if installed."""
    return (ROOT if IS_CHECKOUT else Path.cwd()) / ".twap"


def _split_csv(value: object) -> object:
    """Return the comma-separated parts of a text without empty ones; another value is returned as it is."""
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


_CommaSeparated = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split_csv)]
_KeyHash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Settings(BaseSettings):
    """The settings; each field is read from the variable of its alias, and an empty variable counts as unset."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    database_url: SecretStr | None = Field(
        default=None,
        alias="DATABASE_URL",
        description="URL of the PostgreSQL database; unset: a local embedded server.",
    )
    source_url: str | None = Field(
        default=None,
        alias="TWAP_SOURCE_URL",
        description="Location of the objects: s3://bucket/prefix/ or file:///directory/; unset: the sample data.",
    )
    accept_source_urls: _CommaSeparated = Field(
        default=(),
        alias="TWAP_ACCEPT_SOURCE_URLS",
        description="Comma-separated source URLs that may be mixed with the source of the ingest log; unset: none.",
    )
    configured_start_date: date | None = Field(
        default=None,
        alias="TWAP_START_DATE",
        description="First partition (UTC day); earlier objects are ignored; unset: 2025-08-17, or the sample's first.",
    )
    fills_url: str | None = Field(
        default=None,
        alias="TWAP_FILLS_URL",
        description="Location of the fills: s3://bucket/ or file:///directory/; unset: no fills, or the sample's.",
    )
    fills_prefixes: _CommaSeparated = Field(
        default=("by_dex/*/fills/perp/twap_fills/", "global/fills/spot/all/"),
        alias="TWAP_FILLS_PREFIXES",
        description="Comma-separated folders of the fills below TWAP_FILLS_URL; * is any folder of one level.",
    )
    configured_fills_start_date: date | None = Field(
        default=None,
        alias="TWAP_FILLS_START_DATE",
        description="First partition (UTC day) of the fills; unset: 2025-07-28, or the sample's first.",
    )
    home: Path = Field(
        default_factory=default_home,
        alias="TWAP_HOME",
        description="Folder of local state: embedded database, sample data, Dagster storage.",
    )
    object_pattern: str = Field(
        default="*.parquet",
        alias="TWAP_OBJECT_PATTERN",
        description="Shell pattern of the names of data objects, such as *.parquet; other objects are skipped.",
    )
    key_date_pattern: str | None = Field(
        default=None,
        alias="TWAP_KEY_DATE_PATTERN",
        description="Regular expression with groups year, month and day that finds the date in a key; tried first.",
    )
    allow_insecure_endpoint: bool = Field(
        default=False,
        alias="TWAP_ALLOW_INSECURE_ENDPOINT",
        description="Allow S3 and exchange endpoints without TLS, such as a local server; for development only.",
    )
    exchange_info_url: str = Field(
        default="https://api.hyperliquid.xyz/info",
        alias="TWAP_EXCHANGE_INFO_URL",
        description="Address of the exchange's info endpoint, which `twap-pipeline symbols refresh` queries.",
    )

    asset_key_prefix: str = Field(
        default="",
        alias="TWAP_ASSET_KEY_PREFIX",
        description="Prefix of the asset keys in Dagster, such as hyperliquid/twap; unset: none.",
    )
    asset_group: str = Field(
        default="twap",
        alias="TWAP_ASSET_GROUP",
        description="Group of the assets in Dagster's UI.",
    )
    asset_owners: _CommaSeparated = Field(
        default=(),
        alias="TWAP_ASSET_OWNERS",
        description="Comma-separated owners of the assets, such as team:finance or an email address; unset: none.",
    )
    max_partitions_per_run: PositiveInt = Field(
        default=31,
        alias="TWAP_MAX_PARTITIONS_PER_RUN",
        description="Maximum number of partitions (days) per run.",
    )
    write_concurrency: int = Field(
        default=2,
        ge=1,
        le=8,
        alias="TWAP_WRITE_CONCURRENCY",
        description="Objects of a partition that a run writes concurrently, one connection per object; 1 to 8.",
    )
    max_memory_mb: int = Field(
        default=1000,
        ge=600,
        alias="TWAP_MAX_MEMORY_MB",
        description="Memory of a process that loads objects, in MB; smaller values make batches smaller; 600 or more.",
    )
    sensor_interval_seconds: PositiveInt = Field(
        default=300,
        alias="TWAP_SENSOR_INTERVAL_SECONDS",
        description="Seconds between ticks of new_twap_objects and new_twap_fills; a tick lists up to 10,000 keys.",
    )
    max_bytes_per_run: PositiveInt | None = Field(
        default=None,
        alias="TWAP_MAX_BYTES_PER_RUN",
        description="Maximum object bytes per run; a run that needs more reads nothing and fails; unset: no limit.",
    )
    max_bytes_per_day: PositiveInt | None = Field(
        default=None,
        alias="TWAP_MAX_BYTES_PER_DAY",
        description="Maximum object bytes that all runs of a UTC day read together; unset: no limit.",
    )
    maintenance_timeout_seconds: PositiveFloat = Field(
        default=3600.0,
        alias="TWAP_MAINTENANCE_TIMEOUT_SECONDS",
        description="Timeout of each statement of an order refresh, an audit, a repair or a data check, in seconds.",
    )
    alert_urls: SecretStr | None = Field(
        default=None,
        alias="TWAP_ALERT_URLS",
        description="Comma-separated Apprise URLs of the receivers of alerts, such as slack://...; unset: no alerts.",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] | None = Field(
        default=None,
        alias="LOG_LEVEL",
        description="Lowest level that is logged: DEBUG, INFO, WARNING or ERROR; unset: INFO, in commands ERROR.",
    )
    log_format: LogFormat | None = Field(
        default=None,
        alias="LOG_FORMAT",
        description="Format of log lines: text or json; unset: json in `serve`, text elsewhere.",
    )
    api_key_hashes: Annotated[tuple[_KeyHash, ...], NoDecode, BeforeValidator(_split_csv)] = Field(
        default=(),
        alias="TWAP_API_KEY_HASHES",
        description="Comma-separated hashes of API keys (`twap-pipeline make-api-key`); unset: no authentication.",
    )
    api_rate_limit_per_minute: NonNegativeInt = Field(
        default=600,
        alias="TWAP_API_RATE_LIMIT_PER_MINUTE",
        description="Maximum API requests per client and minute; 0: no limit.",
    )
    api_pool_size: PositiveInt = Field(
        default=8,
        alias="TWAP_API_POOL_SIZE",
        description="Database connections for API queries; exports and readiness checks use five more.",
    )
    api_statement_timeout_seconds: PositiveFloat = Field(
        default=5.0,
        alias="TWAP_API_STATEMENT_TIMEOUT_SECONDS",
        description="Timeout of an API query in seconds.",
    )
    api_cors_origins: _CommaSeparated = Field(
        default=(),
        alias="TWAP_API_CORS_ORIGINS",
        description="Comma-separated web origins that may call the API from a browser; unset: none.",
    )
    dagster_home: Path | None = Field(
        default=None,
        alias="DAGSTER_HOME",
        description="Folder of the Dagster instance; unset: TWAP_HOME/dagster.",
    )

    @field_validator("key_date_pattern")
    @classmethod
    def _require_date_groups(cls, text: str | None) -> str | None:
        if text is None:
            return None
        try:
            pattern = re.compile(text)
        except re.error as error:
            raise ValueError(f"is not a valid regular expression: {error}") from error
        if missing := _DATE_GROUPS - set(pattern.groupindex):
            raise ValueError(f"needs the named groups year, month and day; missing: {', '.join(sorted(missing))}")
        return text

    @field_validator("fills_prefixes")
    @classmethod
    def _require_folders(cls, prefixes: tuple[str, ...]) -> tuple[str, ...]:
        if not prefixes or not all(map(_PREFIX.fullmatch, prefixes)):
            raise ValueError(
                "must be folders such as by_dex/*/fills/, each with / at its end, with a comma between them"
            )
        return prefixes

    @field_validator("asset_key_prefix", "asset_group")
    @classmethod
    def _require_name_path(cls, text: str) -> str:
        if text and not _NAME_PATH.fullmatch(text):
            raise ValueError("must be letters, digits and _, with / between components")
        return text

    @field_validator("asset_owners")
    @classmethod
    def _require_owners(cls, owners: tuple[str, ...]) -> tuple[str, ...]:
        if not all(map(_OWNER.fullmatch, owners)):
            raise ValueError("must be names such as team:finance, or email addresses, with a comma between them")
        return owners

    @property
    def database_url_text(self) -> str | None:
        """DATABASE_URL with its password in clear text; pass it to the database driver only."""
        return self.database_url.get_secret_value() if self.database_url else None

    @property
    def asset_key_prefix_list(self) -> tuple[str, ...]:
        """Components of the prefix of the asset keys."""
        return tuple(self.asset_key_prefix.split("/")) if self.asset_key_prefix else ()

    @property
    def sample_directory(self) -> Path:
        """Folder of the sample data."""
        return self.home / "sample"

    @property
    def sample_statuses_url(self) -> str:
        """URL of the statuses of the sample data."""
        return f"{(self.sample_directory / STATUSES).absolute().as_uri()}/"

    @property
    def is_sample_source(self) -> bool:
        """Whether the source is the sample: neither a source nor a database is configured."""
        return self.source_url is None and self.database_url is None

    @property
    def is_sample_fills(self) -> bool:
        """Whether the fills are those of the sample."""
        return self.fills_url is None and self.is_sample_source

    @property
    def resolved_fills_url(self) -> str | None:
        """URL of the fills: the configured one, or that of the sample's fills; None if there are no fills."""
        return f"{(self.sample_directory / FILLS).absolute().as_uri()}/" if self.is_sample_fills else self.fills_url

    @property
    def sample(self) -> SampleRequest:
        """The parameters of the sample in the folder, or else of the sample that can be generated now."""
        existing = read_manifest(self.sample_directory)
        return existing[0] if existing else SampleRequest(until=latest_until(datetime.now(UTC)))

    @property
    def start_date(self) -> date:
        """First partition (UTC day): TWAP_START_DATE, or else the first day of the sample or of the feed."""
        if self.configured_start_date is not None:
            return self.configured_start_date
        return self.sample.first_date if self.is_sample_source else DATASET_START

    @property
    def end_date(self) -> date | None:
        """Last partition (UTC day): the last day of the sample; None for today. With TWAP_START_DATE always None."""
        return self.sample.last_date if self.is_sample_source and self.configured_start_date is None else None

    @property
    def fills_start_date(self) -> date:
        """First partition (UTC day) of the fills; with the sample's fills, that of the statuses unless configured."""
        return self.configured_fills_start_date or (self.start_date if self.is_sample_fills else FILLS_START)

    @property
    def fills_end_date(self) -> date | None:
        """Last partition (UTC day) of the fills; None for today."""
        return self.end_date if self.is_sample_fills and self.configured_fills_start_date is None else None


def secret_names() -> tuple[str, ...]:
    """Return the variables of secrets; each has a variable with the suffix ``_FILE`` for the path of a file."""
    return tuple(
        str(field.alias) for field in Settings.model_fields.values() if SecretStr in get_args(field.annotation)
    )


def _read_secret_files() -> Iterator[tuple[str, str]]:
    """Yield name and value of each secret whose variable ``NAME_FILE`` is set. Space around the value is removed.

    Raises:
        ConfigurationError: Both variables of a secret are set, or its file is empty or cannot be read.
    """
    for name in secret_names():
        if not (path := os.environ.get(f"{name}_FILE")):
            continue
        if os.environ.get(name):
            raise ConfigurationError(f"{name} and {name}_FILE are both set: unset one of them")
        try:
            value = Path(path).read_text("utf-8").strip()
        except (OSError, ValueError) as error:
            cause = getattr(error, "strerror", None) or "it is not a text file in UTF-8"
            raise ConfigurationError(
                f"cannot read the file {path} of {name}_FILE: {cause}; the user of this process must be able to read it"
            ) from None
        if not value:
            raise ConfigurationError(f"the file {path} of {name}_FILE is empty: write the secret into it")
        yield name, value


def load_settings(overrides: Mapping[str, object] | None = None) -> Settings:
    """Return the settings of the environment, and of the files that ``NAME_FILE`` names for secrets.

    Args:
        overrides: Name of a field → value that replaces the variable of the field.

    Raises:
        ConfigurationError: A variable has an invalid value, or a file of a secret cannot be used; the message names
            the variable and omits the value.
    """
    values: dict[str, Any] = dict(_read_secret_files())
    values |= {str(Settings.model_fields[name].alias): value for name, value in (overrides or {}).items()}
    try:
        return Settings(**values)
    except ValidationError as error:
        details = "; ".join(f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors())
        raise ConfigurationError(f"invalid environment: {details}") from None
