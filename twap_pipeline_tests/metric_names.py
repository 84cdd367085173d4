"""The names of all metrics, read from the code that renders them."""

import re
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from twap_pipeline.api.metrics import Metrics
from twap_pipeline.cli.dagster_instance import InstanceState
from twap_pipeline.cli.pipeline_metrics import (
    attempt_families,
    instance_families,
    revision_family,
    state_families,
    up_family,
)
from twap_pipeline.storage.reports.pipeline_state import AttemptTotals, PipelineState
from twap_pipeline.storage.schema.revision_gate import RevisionStatus

_NOW = datetime.now(UTC)


class _Pipeline(Collector):
    """The metrics of a pipeline, with a sample of each metric of the ingest log."""

    def collect(self) -> list[Metric]:
        return [
            *state_families({"twap_status": (PipelineState(0, None, 0, 0, None, _NOW, _NOW, _NOW), 0)}),
            revision_family(RevisionStatus(("1",), "1", known=True, is_readable=True)),
            *attempt_families({"twap_status": AttemptTotals()}),
            *instance_families(InstanceState([], [], [])),
            up_family(),
        ]


def api_metrics() -> dict[str, str]:
    """Return the name → type of the API's metrics."""
    return _types(Metrics().render())


def pipeline_metrics() -> dict[str, str]:
    """Return the name → type of the metrics of `twap-pipeline export-metrics`."""
    registry = CollectorRegistry()
    registry.register(_Pipeline())
    return _types(generate_latest(registry))


def metrics_per_data_set() -> set[str]:
    """Return the names of the metrics of the pipeline that have the label ``data_set``."""
    samples = [sample for family in _Pipeline().collect() for sample in family.samples]
    return {sample.name for sample in samples if "data_set" in sample.labels}


def _types(rendered: bytes) -> dict[str, str]:
    types = re.findall(r"^# TYPE (\w+) (\w+)", rendered.decode(), re.MULTILINE)
    return {name: kind for name, kind in types if not name.endswith("_created")}
