"""The alert rules and the dashboard in ``deploy/``: valid, tested by their own unit tests, and of existing metrics."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from twap_pipeline.paths import ROOT
from twap_pipeline_tests.metric_names import api_metrics, metrics_per_data_set, pipeline_metrics

PROMETHEUS = ROOT / "deploy" / "prometheus"
ALERTS = PROMETHEUS / "alerts.yaml"
DASHBOARD = ROOT / "deploy" / "grafana" / "dashboards" / "twap.json"
RUNBOOK = ROOT / "docs" / "how-to" / "runbook.md"

requires_promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="needs promtool, of Debian's package prometheus"
)


def metric_names() -> set[str]:
    """Return the names of all metrics as they are queried."""
    types = api_metrics() | pipeline_metrics()
    return {*types, *(f"{name}_bucket" for name, kind in types.items() if kind == "histogram")}


def rules() -> list[dict[str, Any]]:
    """Return the alert rules."""
    return [rule for group in yaml.safe_load(ALERTS.read_text("utf-8"))["groups"] for rule in group["rules"]]


def dashboard_expressions() -> list[str]:
    """Return the queries of the dashboard's panels."""
    panels = json.loads(DASHBOARD.read_text("utf-8"))["panels"]
    return [target["expr"] for panel in panels for target in panel.get("targets", [])]


def used_metrics(expressions: list[str]) -> set[str]:
    """Return the metrics that the queries name; values of labels are in quotes."""
    return {name for expression in expressions for name in re.findall(r"(?<!\")\btwap_\w+", expression)}


@requires_promtool
@pytest.mark.parametrize(
    "arguments",
    [("check", "config", "prometheus.yml"), ("test", "rules", "alerts.test.yaml")],
    ids=lambda arguments: arguments[0],
)
def test_promtool_accepts_rules_and_configuration(arguments: tuple[str, ...]) -> None:
    result = subprocess.run(["promtool", *arguments], cwd=PROMETHEUS, capture_output=True, text=True, check=False)

    assert result.returncode == 0, result.stdout + result.stderr


def test_alert_rules_use_existing_metrics() -> None:
    used = used_metrics([rule["expr"] for rule in rules()])

    assert used
    assert used <= metric_names()


def test_dashboard_shows_every_metric() -> None:
    not_shown = {
        "twap_api_request_duration_seconds",  # its buckets are
        "twap_metrics_up",
        "twap_newest_object_timestamp_seconds",
        "twap_pipeline_info",
    }

    assert used_metrics(dashboard_expressions()) == metric_names() - not_shown


def test_dashboard_shows_each_data_set_by_itself() -> None:
    """A query must not add statuses and fills."""
    per_data_set = metrics_per_data_set()
    assert {"twap_rows_total", "twap_newest_event_timestamp_seconds"} < per_data_set

    queries = [expression for expression in dashboard_expressions() if used_metrics([expression]) & per_data_set]
    assert [query for query in queries if not re.search(r"by \(data_set\b|data_set=\"", query)] == []
    for data_set in ("twap_status", "twap_fills"):
        assert f'time() - max(twap_newest_event_timestamp_seconds{{data_set="{data_set}"}})' in queries


def test_alert_of_a_data_set_names_it() -> None:
    named = {rule["alert"] for rule in rules() if "$labels.data_set" in rule["annotations"]["summary"]}

    assert named == {"TwapFeedLags", "TwapObjectsParked", "TwapObjectsFailed", "TwapDaysMissing"}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_alert_rule_is_complete_and_tested(rule: dict[str, Any]) -> None:
    name = rule["alert"]

    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert {"summary", "description"} < rule["annotations"].keys()
    assert rule["annotations"]["runbook_url"] == f"{RUNBOOK.relative_to(ROOT)}#{name.lower()}"
    assert name in (PROMETHEUS / "alerts.test.yaml").read_text("utf-8")


def test_dashboard_panels_do_not_overlap() -> None:
    cells: set[tuple[int, int]] = set()
    for panel in json.loads(DASHBOARD.read_text("utf-8"))["panels"]:
        place = panel["gridPos"]
        area = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & area, panel["title"]
        assert place["x"] + place["w"] <= 24
        cells |= area


def test_grafana_provisioning_names_the_dashboard_folder() -> None:
    provisioning = Path(ROOT / "deploy" / "grafana" / "provisioning")
    (provider,) = yaml.safe_load((provisioning / "dashboards" / "twap.yaml").read_text("utf-8"))["providers"]
    (source,) = yaml.safe_load((provisioning / "datasources" / "prometheus.yaml").read_text("utf-8"))["datasources"]

    assert Path(provider["options"]["path"]).name == DASHBOARD.parent.name
    assert source["type"] == "prometheus"
