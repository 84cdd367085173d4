"""The code location: names of its definitions, cost of its import, partitions, and resources without run config."""

import itertools
import subprocess
import sys
from datetime import UTC, date, datetime

import dagster as dg
import pytest

from twap_pipeline.defs.assets import IngestConfig
from twap_pipeline.defs.maintenance_jobs import AuditConfig
from twap_pipeline.defs.partitions import daily_partitions
from twap_pipeline.defs.resources import DatabaseResource, ObjectStoreResource, build_resources
from twap_pipeline.errors import ConfigurationError
from twap_pipeline.settings import load_settings
from twap_pipeline.source.s3 import S3Bucket
from twap_pipeline.storage.audit.data_checks import CHECKS
from twap_pipeline_tests.defs.code_location import load_definitions

_IMPORT = """
import sys
import socket
socket.socket.connect = lambda *_: sys.exit("the network was used")
import twap_pipeline.definitions
print([name for name in ("pandas", "polars", "pyarrow", "psycopg", "boto3") if name in sys.modules])
"""


def test_definitions_have_the_documented_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """A change of a name is visible to users: add it to the changelog."""
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://bucket/statuses/")
    repository = load_definitions().get_repository_def()

    assert sorted(key.to_user_string() for key in repository.asset_graph.get_all_asset_keys()) == [
        "twap_daily_stats",
        "twap_orders",
        "twap_s3_objects",
        "twap_status",
    ]
    assert sorted(name for name in repository.job_names if not name.startswith("__")) == [
        "audit_twap_status",
        "check_twap_status",
        "full_data_checks",
        "ingest_twap_status",
        "observe_twap_s3_objects",
        "refresh_twap_orders",
        "retry_parked_objects",
    ]
    assert sorted(key.name for key in repository.asset_graph.asset_check_keys) == sorted(
        [*(check.name for check in CHECKS), "ingest_log_matches_source", "schema_at_head"]
    )
    assert sorted(sensor.name for sensor in repository.sensor_defs) == [
        "alerts",
        "lost_runs",
        "new_twap_objects",
        "stale_asset_checks",
        "stale_twap_orders",
    ]
    assert sorted(schedule.name for schedule in repository.schedule_defs) == [
        "daily_checks",
        "daily_ingest",
        "weekly_full_checks",
    ]


def test_lineage_from_source_objects_to_daily_stats() -> None:
    graph = load_definitions().get_repository_def().asset_graph
    lineage = ["twap_s3_objects", "twap_status", "twap_orders", "twap_daily_stats"]

    for parent, child in itertools.pairwise(lineage):
        assert graph.get(dg.AssetKey(child)).parent_keys == {dg.AssetKey(parent)}


def test_code_location_import_uses_no_network_or_heavy_module() -> None:
    process = subprocess.run([sys.executable, "-c", _IMPORT], capture_output=True, text=True, check=True)

    assert process.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("now", "last_partition"),
    [
        (datetime(2025, 8, 17, tzinfo=UTC), "2025-08-17"),
        (datetime(2025, 8, 20, 23, 59, 59, tzinfo=UTC), "2025-08-20"),
        (datetime(2025, 8, 21, tzinfo=UTC), "2025-08-21"),
    ],
)
def test_partitions_include_start_date_and_today(now: datetime, last_partition: str) -> None:
    keys = daily_partitions(date(2025, 8, 17)).get_partition_keys(now)

    assert keys[0] == "2025-08-17"
    assert keys[-1] == last_partition
    assert len(keys) == (now.date() - date(2025, 8, 17)).days + 1


def test_partitions_end_with_the_last_day_of_the_sample() -> None:
    partitions = daily_partitions(date(2025, 8, 17), date(2025, 8, 30))

    assert partitions.get_partition_keys()[-1] == "2025-08-30"
    assert partitions.get_partition_keys(datetime(2025, 8, 20, 5, tzinfo=UTC))[-1] == "2025-08-20"


@pytest.mark.fault("X3")
@pytest.mark.parametrize("url", ["http://169.254.169.254", "http://s3.example.com"])
def test_store_at_insecure_endpoint_is_refused_by_default(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://twap/raw/")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", url)

    with pytest.raises(ConfigurationError, match="TWAP_ALLOW_INSECURE_ENDPOINT"):
        ObjectStoreResource(load_settings()).open()

    monkeypatch.setenv("TWAP_ALLOW_INSECURE_ENDPOINT", "true")
    assert ObjectStoreResource(load_settings()).open().url == "s3://twap/raw/"


@pytest.mark.fault("X3")
@pytest.mark.parametrize(
    "config",
    [
        {"object_store": {"config": {"s3": {"endpoint_url": "http://169.254.169.254"}}}},
        {"object_store": {"config": {"endpoint_url": "http://169.254.169.254"}}},
        {"database": {"config": {"url": "postgresql://elsewhere/twap"}}},
    ],
)
def test_run_config_cannot_set_endpoint_or_database(config: dict[str, object]) -> None:
    definitions = load_definitions()

    for job in definitions.resolve_all_job_defs():
        with pytest.raises(dg.DagsterInvalidConfigError):
            dg.validate_run_config(job, {"resources": config})


@pytest.mark.fault("S8")
def test_object_store_resource_reads_aws_region_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """boto3 itself reads AWS_DEFAULT_REGION only."""
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://twap/raw/")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-west-2")
    monkeypatch.setenv("AWS_REGION", "eu-west-1")

    store = ObjectStoreResource(load_settings()).open()

    assert isinstance(store, S3Bucket)
    assert store._client.meta.region_name == "eu-west-1"


@pytest.mark.fault("S8")
@pytest.mark.parametrize(
    ("name", "value"), [("AWS_PROFILE", "nobody"), ("AWS_ENDPOINT_URL", "minio:9000"), ("AWS_REGION", "us east 1")]
)
def test_object_store_resource_translates_aws_errors(monkeypatch: pytest.MonkeyPatch, name: str, value: str) -> None:
    monkeypatch.setenv("TWAP_SOURCE_URL", "s3://twap/raw/")
    monkeypatch.setenv(name, value)

    with pytest.raises(ConfigurationError, match=f"AWS configuration: .*{name}"):
        ObjectStoreResource(load_settings()).open()


def test_database_sessions_have_the_name_of_the_run() -> None:
    names: list[str] = []

    @dg.op
    def read_name(database: dg.ResourceParam[DatabaseResource]) -> None:
        names.append(database.application_name)

    @dg.job(resource_defs={"database": build_resources()["database"]})
    def read_name_job() -> None:
        read_name()

    run_id = read_name_job.execute_in_process().run_id
    sensor_resource = build_resources()["database"](dg.build_init_resource_context())

    assert names == [f"twap_pipeline_run_{run_id[:8]}"]
    assert sensor_resource.application_name == "twap_pipeline_code_server"


def test_every_definition_describes_itself_to_a_user() -> None:
    """The UI shows the docstring of a config class, with its Args, and nothing for a field without a description."""
    definitions = load_definitions()
    repository = definitions.get_repository_def()
    graph = repository.asset_graph
    described: dict[str, str | None] = {
        **{key.to_user_string(): graph.get(key).description for key in graph.get_all_asset_keys()},
        **{key.name: graph.get_check_spec(key).description for key in graph.asset_check_keys},
        **{job.name: job.description for job in repository.get_all_jobs() if not job.name.startswith("__")},
        **{sensor.name: sensor.description for sensor in repository.sensor_defs},
        **{schedule.name: schedule.description for schedule in repository.schedule_defs},
        **{name: resource.description for name, resource in repository.get_top_level_resources().items()},
    }
    for name in ("ingest_twap_status", "audit_twap_status", "observe_twap_s3_objects", "retry_parked_objects"):
        described |= {f"op {node.name}": node.definition.description for node in repository.get_job(name).nodes}
    for config in (IngestConfig, AuditConfig):
        described[config.__name__] = config.__doc__
        described |= {name: field.description for name, field in config.model_fields.items()}

    unclear = {name: text for name, text in described.items() if not text or "Args:" in text or "``" in text}
    assert unclear == {}


def test_config_of_every_launchpad_has_defaults() -> None:
    """The Launchpad shows fields that have a default, so that a person need not know their names."""
    assert IngestConfig().model_dump() == {"object_keys": []}
    for config in (IngestConfig, AuditConfig):
        assert all(field.default_factory is None for field in config.model_fields.values())
