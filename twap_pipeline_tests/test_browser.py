"""Dagster's web UI in headless Chromium: start the sensor, view partitions and lineage, launch a materialization."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine, text

from twap_pipeline.defs.charts import CHART_WIDTH
from twap_pipeline_tests.browser import chromium_page
from twap_pipeline_tests.dagster_client import DagsterWeb, dagster_dev_on_bucket, object_key, until
from twap_pipeline_tests.factories import DAY, Bucket, event

_TIMEOUT_MS = 60_000
_RUNS = """{
  runsOrError(filter: {pipelineName: "__ASSET_JOB"}) { ... on Runs { results { status tags { key value } } } }
}"""


@pytest.fixture
def web(bucket: Bucket, engine: Engine, tmp_path: Path) -> Iterator[DagsterWeb]:
    """``dagster dev`` on the test's bucket and database."""
    with dagster_dev_on_bucket(bucket, tmp_path / "checkout") as web:
        yield web


def count_rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one())


def is_launched(web: DagsterWeb) -> bool:
    """Return whether there is a run of the partition that was launched by the dialog."""
    runs = web.query(_RUNS)["runsOrError"]["results"]
    return any({"key": "dagster/partition", "value": str(DAY)} in run["tags"] for run in runs)


def open_page(page: Page, web: DagsterWeb, path: str) -> None:
    page.goto(f"{web.url}/{path}")


@pytest.mark.timeout(600)
def test_ui_starts_sensor_and_launches_materialization(
    web: DagsterWeb, bucket: Bucket, engine: Engine, tmp_path: Path
) -> None:
    assert web.locations() == ["twap_pipeline"]
    assert (tmp_path / "checkout" / ".twap" / "dagster" / "history").is_dir(), "runs are stored in the checkout"
    bucket.put(object_key("a"), [event(1), event(1, status="finished", minute=30, executed="4")])
    with chromium_page() as page:
        expect.set_options(timeout=_TIMEOUT_MS)
        open_page(page, web, "locations/twap_pipeline/sensors/new_twap_objects")
        page.locator("label", has=page.locator("input[type=checkbox]")).first.click()
        until(lambda: count_rows(engine) == 2, 120, "the sensor's run loaded the object")

        open_page(page, web, f"assets/twap_status?view=partitions&partition={DAY}")
        expect(page.get_by_text("Materialized", exact=True)).to_be_visible()
        expect(page.get_by_text("dagster/partition_row_count")).to_be_visible()
        expect(page.get_by_alt_text("events by hour")).to_have_js_property("naturalWidth", CHART_WIDTH)
        page.screenshot(path=tmp_path / "partition.png")

        open_page(page, web, f"assets/twap_daily_stats?view=partitions&partition={DAY}")
        expect(page.get_by_text("orders_by_status")).to_be_visible()

        open_page(page, web, "asset-groups?expanded=global%40global%3Atwap")
        for name in ("twap_s3_objects", "twap_status", "twap_orders", "twap_daily_stats"):
            expect(page.get_by_text(name).first).to_be_visible()
        page.screenshot(path=tmp_path / "lineage.png")

        open_page(page, web, "assets/twap_status?view=partitions")
        page.get_by_role("button", name="Materialize").first.click()
        page.get_by_text("Show all partitions").click()
        partition_input = page.locator(".bp5-dialog input[type=text], [role=dialog] input[type=text]").first
        partition_input.fill(str(DAY))
        partition_input.press("Enter")
        page.get_by_role("button", name=re.compile("Launch")).click()
        until(lambda: is_launched(web), 60, "the web server accepted the run")
