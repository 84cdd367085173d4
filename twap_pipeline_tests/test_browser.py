"""Dagster's UI as people click it: the sensor's switch, a materialization by hand, and the lineage, in Chromium."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import Engine

from twap_pipeline_tests.browser import chromium_page
from twap_pipeline_tests.dagster_client import DagsterWeb, until
from twap_pipeline_tests.factories import DAY, Bucket, event
from twap_pipeline_tests.test_end_to_end import key, rows, web

__all__ = ["web"]
_SHOWN_MS = 60_000


def open_page(page: Page, web: DagsterWeb, path: str) -> None:
    page.goto(f"{web.url}/{path}")


@pytest.mark.timeout(600)
def test_a_person_switches_the_sensor_on_sees_the_day_turn_green_and_materializes_another_by_hand(
    web: DagsterWeb, bucket: Bucket, engine: Engine, tmp_path: Path
) -> None:
    bucket.put(key("a"), [event(1), event(1, status="finished", minute=30, executed="4")])
    with chromium_page() as page:
        expect.set_options(timeout=_SHOWN_MS)
        open_page(page, web, "locations/twap_pipeline/sensors/new_twap_objects")
        page.locator("label", has=page.locator("input[type=checkbox]")).first.click()
        until(lambda: rows(engine) == 2, 120, "the sensor's run has loaded the object")

        open_page(page, web, f"assets/twap_status?view=partitions&partition={DAY}")
        expect(page.get_by_text("Materialized", exact=True)).to_be_visible()
        expect(page.get_by_text("dagster/partition_row_count")).to_be_visible()
        page.screenshot(path=tmp_path / "partition.png")

        open_page(page, web, f"assets/twap_daily_stats?view=partitions&partition={DAY}")
        expect(page.get_by_text("orders by status")).to_be_visible()

        open_page(page, web, "asset-groups?expanded=global%40global%3Atwap")
        for name in ("twap_s3_objects", "twap_status", "twap_orders", "twap_daily_stats"):
            expect(page.get_by_text(name).first).to_be_visible()
        page.screenshot(path=tmp_path / "lineage.png")

        bucket.put(key("b"), [event(2)])
        open_page(page, web, "assets/twap_status?view=partitions")
        page.get_by_role("button", name="Materialize").first.click()
        page.get_by_text("Show all partitions").click()
        ranges = page.locator(".bp5-dialog input[type=text], [role=dialog] input[type=text]").first
        ranges.fill(str(DAY))
        ranges.press("Enter")
        page.get_by_role("button", name=re.compile("Launch")).click()
        until(lambda: rows(engine) == 3, 120, "the backfill launched by hand has loaded the new object")
