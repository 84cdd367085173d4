"""Every setting, read from the environment in one place and nowhere else.

Only the composition roots (Dagster's resources, the app factory, the command, the migrations) make a `Settings`;
everything below takes plain arguments.
"""

import re
from datetime import date
from pathlib import Path

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from twap_pipeline.errors import ConfigurationError
from twap_pipeline.paths import IS_CHECKOUT, ROOT

DATASET_START = date(2025, 8, 17)
"""The feed's first day (UTC)."""


def default_home() -> Path:
    """Return where local state lives: ``.twap`` in the checkout, or in the current folder for an installed package."""
    return (ROOT if IS_CHECKOUT else Path.cwd()) / ".twap"


def _split_csv(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


class Settings(BaseSettings):
    """The settings, each from the environment variable of its alias; an unset or empty one has its default."""

    model_config = SettingsConfigDict(frozen=True, env_ignore_empty=True, extra="ignore")

    database_url: SecretStr | None = Field(
        default=None,
        alias="DATABASE_URL",
        description="PostgreSQL to write to; the embedded one when unset.",
    )
    source_url: str | None = Field(
        default=None,
        alias="TWAP_SOURCE_URL",
        description="Where the objects lie: s3://bucket/prefix/ or file:///directory/; the sample when unset.",
    )
    start_date: date = Field(
        default=DATASET_START,
        alias="TWAP_START_DATE",
        description="First UTC day of the partitions.",
    )
    home: Path = Field(
        default_factory=default_home,
        alias="TWAP_HOME",
        description="Folder of local state: embedded database, sample, Dagster's runs.",
    )
    key_date_pattern: str | None = Field(
        default=None,
        alias="TWAP_KEY_DATE_PATTERN",
        description="Regular expression with groups year, month, day: how keys name their day; tried first.",
    )
    allow_insecure_endpoint: bool = Field(
        default=False,
        alias="TWAP_ALLOW_INSECURE_ENDPOINT",
        description="For development: S3 requests may go to an endpoint without TLS, such as a server of your own.",
    )

    max_partitions_per_run: PositiveInt = Field(
        default=31,
        alias="TWAP_MAX_PARTITIONS_PER_RUN",
        description="Days of a backfill that one run takes.",
    )
    write_concurrency: int = Field(
        default=2,
        ge=1,
        le=8,
        alias="TWAP_WRITE_CONCURRENCY",
        description="Objects of a day that a run writes at once, each by a database connection of its own; 1 to 8.",
    )
    sensor_interval_seconds: PositiveInt = Field(
        default=300,
        alias="TWAP_SENSOR_INTERVAL_SECONDS",
        description="Seconds between two looks of the sensor at the source; each lists it, a LIST per 1,000 keys.",
    )
    max_bytes_per_run: PositiveInt | None = Field(
        default=None,
        alias="TWAP_MAX_BYTES_PER_RUN",
        description="Bytes of objects that one run may read; a run that would read more reads nothing.",
    )
    max_bytes_per_day: PositiveInt | None = Field(
        default=None,
        alias="TWAP_MAX_BYTES_PER_DAY",
        description="Bytes of objects that all runs of a UTC day together may read.",
    )
    alert_webhook_url: SecretStr | None = Field(
        default=None,
        alias="TWAP_ALERT_WEBHOOK_URL",
        description='Where failed runs are told, as JSON {"text": …}: a Slack incoming webhook or alike; else nowhere.',
    )
    api_key_hashes: str = Field(
        default="",
        alias="TWAP_API_KEY_HASHES",
        pattern=r"^\s*([0-9a-f]{64}(\s*,\s*|\s*$))*$",
        description="Hashes of the API's keys, separated by commas (`twap-pipeline make-api-key`); else open to all.",
    )
    api_rate_limit_per_minute: NonNegativeInt = Field(
        default=600,
        alias="TWAP_API_RATE_LIMIT_PER_MINUTE",
        description="Requests that one client may make of the API a minute; 0 for any number.",
    )
    api_pool_size: PositiveInt = Field(
        default=8,
        alias="TWAP_API_POOL_SIZE",
        description="Database connections of the API for queries; five more are for exports and readiness.",
    )
    api_statement_timeout_seconds: PositiveFloat = Field(
        default=5.0,
        alias="TWAP_API_STATEMENT_TIMEOUT_SECONDS",
        description="Seconds that one query of the API may take.",
    )
    api_cors_origins: str = Field(
        default="",
        alias="TWAP_API_CORS_ORIGINS",
        description="Web origins whose scripts may read the API, separated by commas; else none.",
    )
    dagster_home: Path | None = Field(
        default=None,
        alias="DAGSTER_HOME",
        description="Dagster's instance; state below TWAP_HOME/dagster when unset.",
    )

    @field_validator("key_date_pattern")
    @classmethod
    def _require_date_groups(cls, layout: str | None) -> str | None:
        try:
            pattern = re.compile(layout or "")
        except re.error as error:
            raise ValueError(f"is no regular expression: {error}") from error
        groups = pattern.groupindex if layout else {"year": 1, "month": 2, "day": 3}
        if not {"year", "month", "day"} <= set(groups):
            raise ValueError("needs the named groups year, month and day")
        return layout

    @property
    def database_url_text(self) -> str | None:
        """DATABASE_URL in clear, for the driver alone."""
        return self.database_url.get_secret_value() if self.database_url else None

    @property
    def api_key_hash_list(self) -> tuple[str, ...]:
        """The hashes of the API's keys."""
        return _split_csv(self.api_key_hashes)

    @property
    def api_cors_origin_list(self) -> tuple[str, ...]:
        """The origins whose scripts may read the API."""
        return _split_csv(self.api_cors_origins)

    @property
    def sample_directory(self) -> Path:
        """Where the sample data set lies."""
        return self.home / "sample"

    @property
    def effective_source_url(self) -> str:
        """The configured source, or the sample."""
        return self.source_url or self.sample_directory.absolute().as_uri() + "/"


def load_settings() -> Settings:
    """Return the settings of the environment.

    Raises:
        ConfigurationError: A variable's value cannot be read; it is named, its value is not shown.
    """
    try:
        return Settings()
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors())
        raise ConfigurationError(f"the environment cannot be used: {faults}") from None
