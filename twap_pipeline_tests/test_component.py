"""The component in the project of another team: attributes, other assets of that project, and the command ``dg``."""

import importlib
import json
import tomllib
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest
from click.testing import CliRunner
from dagster_dg_cli.cli import cli

from twap_pipeline import components
from twap_pipeline.components import TwapPipelineComponent
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.paths import ROOT
from twap_pipeline.settings import Settings

pytestmark = pytest.mark.dagster

PROJECT = """
[tool.dg]
directory_type = "project"

[tool.dg.project]
root_module = "mounting_team"
registry_modules = ["twap_pipeline.components"]
"""
DEFINITIONS = """
from pathlib import Path

import dagster as dg


@dg.definitions
def defs() -> dg.Definitions:
    return dg.load_from_defs_folder(path_within_project=Path(__file__).parent)
"""
ASSETS = """
import dagster as dg


@dg.asset
def twap_status(): ...


@dg.asset(deps=[["hyperliquid", "twap_orders"]])
def report(): ...
"""
COMPONENT = """
type: twap_pipeline.components.TwapPipelineComponent
attributes:
  source_url: s3://bucket/statuses/
  fills_url: s3://bucket/
  fills_prefixes: ["fills/*/", "spot/"]
  fills_start_date: "2026-02-01"
  asset_key_prefix: hyperliquid
  asset_group: exchange_data
  asset_owners: ["team:finance"]
"""
NO_CONTEXT = cast("dg.ComponentLoadContext", None)


def build(**attributes: Any) -> dg.Definitions:
    return TwapPipelineComponent(**attributes).build_defs(NO_CONTEXT)


def test_component_with_other_assets_is_listed_by_dg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An asset of the project has the name of one of ours; another one depends on ours."""
    package = tmp_path / "mounting_team"
    (package / "defs" / "twap").mkdir(parents=True)
    (tmp_path / "dagster.yaml").write_text("telemetry: {enabled: false}\n")
    (tmp_path / "pyproject.toml").write_text(PROJECT)
    (package / "__init__.py").write_text("")
    (package / "definitions.py").write_text(DEFINITIONS)
    (package / "defs" / "assets.py").write_text(ASSETS)
    (package / "defs" / "twap" / "defs.yaml").write_text(COMPONENT)
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))

    result = CliRunner().invoke(cli, ["list", "defs", "--json"])

    assert result.exit_code == 0, result.output
    listed = json.loads(result.stdout)
    assets = {asset["asset_key"]: asset for asset in listed["assets"]}
    names = ["twap_daily_stats", "twap_fill_objects", "twap_fills", "twap_orders", "twap_s3_objects", "twap_status"]
    assert sorted(assets) == [*(f"hyperliquid/{name}" for name in names), "report", "twap_status"]
    assert assets["hyperliquid/twap_orders"]["group_name"] == "exchange_data"
    assert assets["hyperliquid/twap_orders"]["owners"] == [{"team": "finance"}]
    assert assets["report"]["dependency_keys"] == ["hyperliquid/twap_orders"]
    assert {"new_twap_objects", "new_twap_fills"} < {sensor["name"] for sensor in listed["sensors"]}


@pytest.mark.parametrize(("is_started", "status"), [(False, "STOPPED"), (True, "RUNNING")])
def test_component_starts_sensors_and_schedules(is_started: bool, status: str) -> None:
    definitions = build(start_sensor=is_started, start_schedules=is_started, fills_url="s3://bucket/")

    for name in ("new_twap_objects", "new_twap_fills"):
        assert definitions.resolve_sensor_def(name).default_status.value == status
    for name in ("daily_ingest", "daily_fills_ingest", "daily_checks", "weekly_full_checks"):
        assert definitions.resolve_schedule_def(name).default_status.value == status


def resource_settings(definitions: dg.Definitions) -> Settings:
    """Return the settings that a run of the definitions reads."""
    resource = (definitions.resources or {})["object_store"]
    settings = resource(dg.build_init_resource_context()).settings
    assert isinstance(settings, Settings)
    return settings


def test_component_attribute_replaces_its_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SOURCE_URL": "s3://environment/", "ASSET_GROUP": "environment_group"}.items():
        monkeypatch.setenv(f"TWAP_{name}", value)
    definitions = build(source_url="s3://attribute/")

    assert resource_settings(definitions).source_url == "s3://attribute/"
    graph = definitions.get_repository_def().asset_graph
    assert {node.group_name for node in graph.asset_nodes} == {"environment_group"}


def test_component_attributes_of_fills_replace_their_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TWAP_FILLS_URL", "s3://environment/")
    monkeypatch.setenv("TWAP_FILLS_START_DATE", "2026-01-01")
    definitions = build(
        fills_url="s3://attribute/", fills_prefixes=["fills/*/", "spot/"], fills_start_date="2026-02-01"
    )

    settings = resource_settings(definitions)
    assert (settings.fills_url, settings.fills_prefixes) == ("s3://attribute/", ("fills/*/", "spot/"))
    partitions = definitions.get_repository_def().asset_graph.get(dg.AssetKey("twap_fills")).partitions_def
    assert partitions is not None
    assert partitions.get_first_partition_key() == "2026-02-01"


def test_component_with_invalid_owner_names_the_setting() -> None:
    with pytest.raises(ConfigurationError, match="TWAP_ASSET_OWNERS"):
        build(asset_owners=["fin ance"])


def test_component_leaves_the_executor_to_the_project() -> None:
    definitions = build()

    assert definitions.executor is None
    for job in definitions.resolve_all_job_defs():
        expected = "multi_or_in_process_executor" if job.name.startswith("__") else "in_process"
        assert job.executor_def.name == expected


def test_component_module_is_the_registered_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]

    (module,) = project["entry-points"]["dagster_dg_cli.registry_modules"].values()

    assert importlib.import_module(module) is components
