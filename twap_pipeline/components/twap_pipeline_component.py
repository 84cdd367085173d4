"""`TwapPipelineComponent` mounts all definitions in another Dagster project; a ``defs.yaml`` has its attributes."""

from functools import partial

import dagster as dg
from pydantic import Field

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.resources import build_resources
from twap_pipeline.settings import load_settings


class TwapPipelineComponent(dg.Component, dg.Resolvable, dg.Model):
    """Loads Hyperliquid TWAP statuses and fills from S3 into PostgreSQL: assets, checks, jobs, sensors and schedules.

    DATABASE_URL and credentials come from the environment. An attribute that is left out has the value of its setting.
    """

    source_url: str | None = Field(default=None, description="Location of the objects; TWAP_SOURCE_URL.")
    fills_url: str | None = Field(default=None, description="Location of the fills; TWAP_FILLS_URL.")
    fills_prefixes: list[str] | None = Field(
        default=None, description="Folders of the fills below their location; TWAP_FILLS_PREFIXES."
    )
    fills_start_date: str | None = Field(
        default=None, description="First partition (UTC day) of the fills, in quotes; TWAP_FILLS_START_DATE."
    )
    asset_key_prefix: str | None = Field(
        default=None, description="Prefix of the asset keys, such as hyperliquid/twap; TWAP_ASSET_KEY_PREFIX."
    )
    asset_group: str | None = Field(default=None, description="Group of the assets; TWAP_ASSET_GROUP.")
    asset_owners: list[str] | None = Field(
        default=None, description="Owners of the assets, such as team:finance; TWAP_ASSET_OWNERS."
    )
    start_sensor: bool = Field(
        default=False, description="Whether new_twap_objects and new_twap_fills are running until somebody stops them."
    )
    start_schedules: bool = Field(
        default=False, description="Whether the schedules are running until somebody stops them in the UI."
    )

    @classmethod
    def get_spec(cls) -> dg.ComponentTypeSpec:
        """Return what ``dg list components`` shows."""
        return dg.ComponentTypeSpec(
            description=cls.__doc__,
            tags=["s3", "postgres"],
            produces=["asset", "asset_check", "job", "resource", "schedule", "sensor"],
        )

    def build_defs(self, context: dg.ComponentLoadContext) -> dg.Definitions:
        """Return the definitions. The executor is that of the project; the jobs run in process.

        Raises:
            ConfigurationError: An attribute or a variable has an invalid value.
        """
        read_settings = partial(load_settings, self._overrides())
        definitions = build_definitions(
            read_settings(),
            build_resources(read_settings),
            start_sensor=self.start_sensor,
            start_schedules=self.start_schedules,
        )
        return dg.Definitions(
            assets=definitions.assets,
            asset_checks=definitions.asset_checks,
            jobs=definitions.jobs,
            sensors=definitions.sensors,
            schedules=definitions.schedules,
            resources=definitions.resources,
        )

    def _overrides(self) -> dict[str, object]:
        """Return field of the settings → value, of each attribute that is set."""
        values = {
            "source_url": self.source_url,
            "fills_url": self.fills_url,
            "fills_prefixes": self.fills_prefixes,
            "configured_fills_start_date": self.fills_start_date,
            "asset_key_prefix": self.asset_key_prefix,
            "asset_group": self.asset_group,
            "asset_owners": self.asset_owners,
        }
        return {name: value for name, value in values.items() if value is not None}
