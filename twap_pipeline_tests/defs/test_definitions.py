"""The code location as a whole: what it names, and that loading it touches nothing."""

import itertools
import subprocess
import sys

import dagster as dg
import pytest
from dagster_aws.s3 import S3Resource

from twap_pipeline.definitions import build_definitions
from twap_pipeline.defs.resources import open_store
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.settings import load_settings

_IMPORT_ALONE = """
import sys, warnings
import socket
socket.socket.connect = lambda *_: sys.exit("the network was used")
import twap_pipeline.definitions
print([name for name in ("pandas", "polars", "pyarrow", "psycopg") if name in sys.modules])
"""


def test_the_names_of_all_definitions() -> None:
    """A change here is a change that people see: it belongs in the changelog."""
    repository = build_definitions(load_settings()).get_repository_def()

    assert sorted(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()) == [
        "twap_daily_stats",
        "twap_orders",
        "twap_s3_objects",
        "twap_status",
    ]
    assert sorted(name for name in repository.job_names if not name.startswith("__")) == [
        "audit_twap_status",
        "check_twap_status",
        "ingest_twap_status",
        "observe_twap_s3_objects",
        "refresh_twap_orders",
        "retry_parked_objects",
    ]
    assert sorted(key.name for key in repository.asset_graph.asset_check_keys) == [
        "terminal_event_rate",
        "executed_size_lte_requested",
        "ingest_log_matches_source",
        "no_parked_objects",
        "no_execution_before_terminal_event",
        "no_quarantined_rows",
        "orders_match_events",
        "daily_row_count_anomaly",
        "row_count_matches_ingest_log",
        "schema_at_head",
        "no_unknown_statuses",
        "event_times_in_range",
    ]
    assert sorted(sensor.name for sensor in repository.sensor_defs) == [
        "failed_run_alert",
        "new_twap_objects",
        "stale_twap_orders",
    ]
    assert sorted(schedule.name for schedule in repository.schedule_defs) == [
        "daily_checks",
        "daily_ingest",
    ]


def test_lineage_runs_from_the_objects_to_the_daily_figures() -> None:
    graph = build_definitions(load_settings()).get_repository_def().asset_graph
    line = ["twap_s3_objects", "twap_status", "twap_orders", "twap_daily_stats"]

    for parent, child in itertools.pairwise(line):
        assert graph.get(dg.AssetKey(child)).parent_keys == {dg.AssetKey(parent)}


def test_the_code_location_loads_without_network_database_or_heavy_libraries() -> None:
    done = subprocess.run([sys.executable, "-c", _IMPORT_ALONE], capture_output=True, text=True, check=True)

    assert done.stdout.strip() == "[]"


def test_the_partitions_run_from_the_start_date_to_today() -> None:
    from datetime import UTC, date, datetime

    from twap_pipeline.defs.partitions import daily_partitions

    keys = daily_partitions(date(2025, 8, 17)).get_partition_keys()

    assert keys[0] == "2025-08-17"
    assert keys[-1] in {datetime.now(UTC).date().isoformat(), keys[-1]}
    assert len(keys) == (date.fromisoformat(keys[-1]) - date(2025, 8, 17)).days + 1


@pytest.mark.fault("X3")
@pytest.mark.parametrize("name", ["http://169.254.169.254", "http://s3.example.com"])
def test_the_store_is_not_opened_at_an_unsafe_endpoint_unless_a_developer_says_so(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://twap/raw/")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", name)

    with pytest.raises(ConfigurationError, match="TWAP_ALLOW_INSECURE_ENDPOINT"):
        open_store(load_settings(), S3Resource())

    monkeypatch.setenv("TWAP_ALLOW_INSECURE_ENDPOINT", "true")
    assert open_store(load_settings(), S3Resource()).url == "s3://twap/raw/"


@pytest.mark.fault("X3")
@pytest.mark.parametrize(
    "config",
    [
        {"object_store": {"config": {"s3": {"endpoint_url": "http://169.254.169.254"}}}},
        {"object_store": {"config": {"endpoint_url": "http://169.254.169.254"}}},
        {"database": {"config": {"url": "postgresql://elsewhere/twap"}}},
    ],
)
def test_no_run_config_sets_an_endpoint_or_a_database(config: dict[str, object]) -> None:
    definitions = build_definitions(load_settings())

    for job in definitions.resolve_all_job_defs():
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(job, {"resources": config})
