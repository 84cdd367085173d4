"""Values are stored exactly: digits, characters, times; rows that cannot be stored are quarantined."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import Engine, text

from twap_pipeline.domain.row_counts import RowCounts
from twap_pipeline.storage.reports.order_history import order_history
from twap_pipeline_tests.factories import WALLET, Bucket, event
from twap_pipeline_tests.storage.loaded_objects import load, scalar, statuses


@pytest.mark.fault("V3")
def test_numbers_are_stored_digit_by_digit(engine: Engine, bucket: Bucket) -> None:
    numbers = ["0.1", "-3.50", "1E-30", "9" * 60, f"0.{'1' * 60}", "100000000000000000000.000000000000000000001"]
    bucket.put("a.parquet", [event(twap_id, executed=number) for twap_id, number in enumerate(numbers, start=1)])

    load(engine, bucket, "a.parquet")

    for twap_id, number in enumerate(numbers, start=1):
        ((_, stored),) = statuses(engine, twap_id)
        assert stored is not None
        assert stored.as_tuple() == Decimal(format(Decimal(number), "f")).as_tuple()


@pytest.mark.fault("V7")
@pytest.mark.parametrize("path", ["copy", "merge"])
def test_special_characters_are_stored_exactly(engine: Engine, bucket: Bucket, path: str) -> None:
    asset = 'tab\t line\n return\r back\\slash "quote" \\N \x0b \x0c \x1c \x85 \u2028 é 漢 🙂'
    bucket.put("a.parquet", [event(number, asset=asset) for number in (1, 2)])
    if path == "merge":
        bucket.put("older.parquet", [event(1)], hours=-1)
        load(engine, bucket, "older.parquet")

    load(engine, bucket, "a.parquet")

    with engine.connect() as connection:
        rows = connection.execute(text("SELECT asset, raw_payload ->> 'state_coin' FROM twap_status")).all()
    assert [tuple(row) for row in rows] == [(asset, asset)] * 2


@pytest.mark.fault("V7")
def test_row_with_a_nul_character_is_quarantined(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2, asset="A\0B")])

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, quarantined=1)
    with engine.connect() as connection:
        row = connection.execute(text("SELECT s3_object_key, row_number, reason FROM twap_status_quarantine")).one()
    assert row[:2] == ("a.parquet", 1)
    assert "state_coin" in row.reason
    assert "NUL" in row.reason


@pytest.mark.fault("V7")
def test_rows_with_nul_characters_are_readable_by_sql(engine: Engine, bucket: Bucket) -> None:
    rows = [
        event(1) | {"note": "a\0b", "tags": ["\0"]},
        event(2, asset="A\0B") | {"note": r"a\u0000b", "tags": [r"\u0000"]},
        event(3, status="x\0") | {"note": "\\\0", "tags": [""]},
        event(4) | {"note": "plain", "tags": []},
    ]
    bucket.put("a.parquet", rows)

    load(engine, bucket, "a.parquet")

    with engine.connect() as connection:
        loaded = connection.execute(
            text("SELECT raw_payload ->> 'note', raw_payload::jsonb #>> '{tags,0}' FROM twap_status ORDER BY twap_id")
        ).all()
        quarantined = connection.execute(
            text(
                "SELECT raw_row ->> 'note', raw_row ->> 'state_coin', raw_row::jsonb ->> 'status', reason "
                "FROM twap_status_quarantine ORDER BY row_number"
            )
        ).all()
    assert [tuple(row) for row in loaded] == [(r"a\u0000b", r"\u0000"), ("plain", None)]
    assert [tuple(row)[:3] for row in quarantined] == [
        (r"a\\u0000b", r"A\u0000B", "activated"),
        (r"\\\u0000", "HYPE", r"x\u0000"),
    ]
    assert [row.reason.split(" ")[0] for row in quarantined] == ["state_coin", "status"]


def test_new_version_replaces_the_quarantined_rows(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1), event(2, wallet="nobody")])
    load(engine, bucket, "a.parquet")
    bucket.put("a.parquet", [event(1), event(2)], hours=1)

    (result,) = load(engine, bucket, "a.parquet")

    assert result.row_counts == RowCounts(inserted=1, unchanged=1)
    assert scalar(engine, "SELECT count(*) FROM twap_status_quarantine") == 0


def test_time_and_wallet_are_canonical(engine: Engine, bucket: Bucket) -> None:
    bucket.put("a.parquet", [event(1, wallet=WALLET.upper().replace("X", "x"))])

    load(engine, bucket, "a.parquet")

    with engine.connect() as connection:
        (row,) = order_history(connection, "1")
    assert row.wallet == WALLET
    assert row.ts == datetime(2025, 8, 20, 12, tzinfo=UTC) + timedelta(microseconds=123456)
