"""Unit tests of the sample's content: every edge case is present, and random orders are plausible."""

from collections import Counter
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from twap_pipeline.sample.edge_cases import EDGE_CASES
from twap_pipeline.sample.events import order_events
from twap_pipeline.sample.manifest import SampleSummary
from twap_pipeline.sample.orders import draw_orders
from twap_pipeline.sample.prices import MICROS
from twap_pipeline_tests.sample.sample_reader import rows_of


@pytest.fixture(scope="module")
def plain(full: tuple[Path, SampleSummary]) -> pl.DataFrame:
    """All random rows of the usual hourly objects, with parsed statuses."""
    directory, summary = full
    edge_cases = {directory / key for key in summary.edge_cases.values()}
    paths = sorted(set(directory.glob("hourly/2025/08/**/*.parquet")) - edge_cases)
    message = pl.col("status").str.json_path_match("$.error").alias("message")
    ending = pl.when(message.is_not_null()).then(pl.lit("error")).otherwise("status").alias("ending")
    return pl.concat(map(pl.read_parquet, paths)).with_columns(message, ending)


TYPES: dict[str, dict[str, pa.DataType]] = {
    "time_epoch_ms": {"time": pa.int64()},
    "time_epoch_ns": {"time": pa.int64()},
    "time_timestamp_ns": {"time": pa.timestamp("ns")},
    "time_timestamp_us_utc": {"time": pa.timestamp("us", "UTC")},
    "time_ms_inside_ns": {"time": pa.timestamp("ns")},
    "wallets_mixed_case": {"state_user": pa.string()},
    "twap_id_text": {"twap_id": pa.string()},
    "sizes_decimal128": {"state_sz": pa.decimal128(38, 8), "state_executedNtl": pa.decimal128(38, 8)},
    "sizes_double": {"state_sz": pa.float64(), "state_executedSz": pa.float64()},
    "metadata_rows": {"_metadata": pa.bool_()},
    "text_dictionary": {"state_coin": pa.dictionary(pa.int32(), pa.string())},
    "columns_null": {"state_trigger": pa.null(), "state_stopPx": pa.null()},
    "executed_null": {"state_executedSz": pa.string()},
    "rows_bad": {"time": pa.string(), "twap_id": pa.int64()},
    "status_struct": {"status": pa.struct([("error", pa.string())])},
    "error_prefix": {"status": pa.string()},
    "rows_none": {"time": pa.string()},
    "rows_republished": {"time": pa.string()},
}


def test_every_edge_case_has_an_object(any_size: tuple[Path, SampleSummary]) -> None:
    directory, summary = any_size
    assert summary.edge_cases.keys() == TYPES.keys() | {"nested_state"}
    assert EDGE_CASES.keys() < summary.edge_cases.keys()
    for name, types in TYPES.items():
        schema = pq.read_schema(directory / summary.edge_cases[name])
        assert {column: schema.field(column).type for column in types} == types, name


def edge_case_rows(full: tuple[Path, SampleSummary], name: str) -> list[dict[str, Any]]:
    return list(rows_of(full[0] / full[1].edge_cases[name]))


def test_edge_case_times_have_the_named_units(full: tuple[Path, SampleSummary]) -> None:
    for name, digits in {
        "time_epoch_ms": 13,
        "time_epoch_ns": 19,
        "time_timestamp_ns": 19,
        "time_ms_inside_ns": 13,
    }.items():
        assert {len(str(row["time"])) for row in edge_case_rows(full, name)} == {digits}


def test_edge_case_rows_have_the_named_content(full: tuple[Path, SampleSummary]) -> None:
    assert all(row["state_user"] != row["state_user"].lower() for row in edge_case_rows(full, "wallets_mixed_case"))
    assert [row["state_sz"] for row in edge_case_rows(full, "sizes_double") if row["state_sz"] != row["state_sz"]] != []
    assert Counter(row["_metadata"] for row in edge_case_rows(full, "metadata_rows"))[True] == 2
    nulls = [row for row in edge_case_rows(full, "executed_null") if row["state_executedSz"] is None]
    assert [row["status"] for row in nulls] == ["activated"]
    bad = [row for row in edge_case_rows(full, "rows_bad") if row["twap_id"] is None or row["time"].startswith("1970")]
    assert len(bad) == 2
    assert edge_case_rows(full, "rows_none") == []
    republished = edge_case_rows(full, "rows_republished")
    path = full[0] / full[1].edge_cases["rows_republished"]
    assert republished == list(rows_of(path.with_name("part-0000.parquet")))[-len(republished) :] != []
    assert all(row["status"]["error"] for row in edge_case_rows(full, "status_struct"))
    early = edge_case_rows(full, "error_prefix")
    assert {"block_time", "block_number"}.isdisjoint(early[0])
    assert {row["state_timestamp"] == 0 for row in early} == {True, False}
    assert any(row["status"].startswith("error: ") for row in early)


@pytest.fixture(scope="module")
def orders() -> pl.DataFrame:
    """Random orders of four days."""
    start = datetime(2025, 8, 17, tzinfo=UTC)
    return draw_orders(np.random.default_rng(1), start=start, days=4, count=20_000, first_twap_id=1)


def test_random_orders_include_rare_lifecycles(orders: pl.DataFrame) -> None:
    message = pl.col("status").str.json_path_match("$.error")
    ending = pl.when(message.is_not_null()).then(pl.lit("error")).otherwise("status").alias("ending")
    events = order_events(orders).with_columns(ending)
    assert {"waitingForTrigger", "activated", "stopped", "paused"} < set(events["ending"])
    failed_at_once = events.group_by("twap_id", "time").agg("ending").filter(pl.col("ending").list.len() > 1)
    assert failed_at_once.height > 10
    assert failed_at_once["ending"].list.sort().unique(maintain_order=True).to_list() == [["activated", "error"]]


def test_random_orders_have_the_shares_of_the_feed(orders: pl.DataFrame) -> None:
    shares = {name: count / orders.height for name, count in orders["status"].value_counts().iter_rows()}
    assert shares["finished"] == pytest.approx(0.47, abs=0.02)
    assert shares["terminated"] == pytest.approx(0.40, abs=0.02)
    assert shares["error"] == pytest.approx(0.12, abs=0.02)
    size, executed = pl.col("size_micros"), pl.col("executed_micros")
    finished = orders.filter(pl.col("status") == "finished")
    assert finished.select(executed < size).to_series().mean() == pytest.approx(0.03, abs=0.01)
    notional_usd = pl.col("notional_micros") / executed * size / MICROS
    assert finished.select(notional_usd).to_series().median() == pytest.approx(24_000, rel=0.1)
    assert orders["state_minutes"].median() == 30
    assert (orders["state_minutes"] >= 180).mean() == pytest.approx(0.17, abs=0.015)
    assert (orders["state_side"] == "B").mean() == pytest.approx(0.6, abs=0.015)
    orders_per_wallet = orders["state_user"].value_counts(sort=True)["count"]
    assert orders_per_wallet.head(50).sum() > orders_per_wallet.sum() / 2
    assert orders.select(executed.is_between(0, size)).to_series().all()


def test_random_rows_are_consistent(plain: pl.DataFrame) -> None:
    assert plain.filter(~pl.col("state_user").str.contains("^0x[0-9a-f]{40}$")).is_empty()
    for column in ("state_sz", "state_executedSz", "state_executedNtl"):
        assert plain.filter(~pl.col(column).str.contains(r"^\d+\.(\d|\d{1,5}[1-9])$")).is_empty()
    assert plain.filter(pl.col("time").str.len_bytes() != 29).is_empty()
    created = plain.sort("twap_id")["state_timestamp"]
    assert created.is_sorted()
    non_terminal = plain.filter(pl.col("ending").is_in(["activated", "waitingForTrigger", "paused"]))
    assert set(non_terminal["state_executedSz"]) | set(non_terminal["state_executedNtl"]) == {"0.0"}
    assert set(plain["message"].drop_nulls()) >= {"Insufficient margin to place order."}
