"""Exports: exact, harmless in a spreadsheet, streamed, and seen to break where they break."""

import csv
import io
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import httpx2
import polars as pl
import psycopg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from twap_pipeline.api.routes import exports as route
from twap_pipeline.errors import ExportError
from twap_pipeline.exports.csv_format import escape_formula, to_csv_bytes
from twap_pipeline.exports.formats import FORMATS, Writer
from twap_pipeline.exports.rows import COLUMNS
from twap_pipeline_tests.api.conftest import Tables, eventually
from twap_pipeline_tests.factories import WALLET, event

MANY = 50_000
"""Orders, some 11 MB of CSV: more than sockets hold between them."""

PATH = f"/api/v1/wallets/{WALLET}/export"


def order(**fields: object) -> list[object]:
    """Return a row of an export."""
    at = datetime(2025, 8, 20, 12, 30, 0, 123456, tzinfo=UTC)
    usual: dict[str, object] = dict.fromkeys(COLUMNS)
    usual |= {"twap_id": "7", "wallet": WALLET, "asset": "BTC", "side": "B", "status": "finished", "last_status_at": at}
    return list({**usual, "size_executed": "0.5", "notional_executed": "60000.10", **fields}.values())


def text_of(writer: Writer, *rows: list[object]) -> str:
    return (writer.begin() + writer.rows(rows) + writer.end()).decode()


@pytest.fixture
def many(engine: Engine) -> None:
    """So many orders of one wallet."""
    with engine.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO twap_orders (twap_id, wallet, asset, side, size_requested, size_executed,"
                " notional_executed, status, last_status_at, started_at, ended_at, duration_minutes, event_count,"
                " first_event_at, first_object_key, last_object_key) SELECT (1000000 + n)::text, :wallet, 'BTC', 'B',"
                " 1, 0.123456789, n, 'finished', t, t, t, 30, 2, t, 'hourly/a.parquet', 'hourly/b.parquet'"
                " FROM generate_series(1, :many) AS n, LATERAL (SELECT '2025-08-20Z'::timestamptz + n * interval '1 s'"
                " AS t) AS at"
            ),
            {"wallet": WALLET, "many": MANY},
        )


def test_csv_has_every_order_of_the_range_oldest_first(client: httpx2.Client, tables: Tables) -> None:
    rows = [{**event(n, status="finished", minute=n, executed="0.10"), "state_executedNtl": "1.50"} for n in (3, 1, 2)]
    tables.take("a", [*rows, event(4, minute=4)])

    json_response = client.get(f"{PATH}.csv", params={"end": "2025-08-20T12:04:00.123456Z"})

    found = list(csv.DictReader(io.StringIO(json_response.text)))
    assert json_response.headers["content-type"] == "text/csv; charset=utf-8"
    assert json_response.headers["content-disposition"] == f'attachment; filename="twap-orders-{WALLET}.csv"'
    assert "Fees, closed profit and slices are not in this feed" in json_response.headers["x-not-in-this-feed"]
    assert [one["twap_id"] for one in found] == ["1", "2", "3"]
    assert list(found[0]) == list(COLUMNS)
    assert (found[0]["size_executed"], found[0]["notional_executed"]) == ("0.10", "1.50")
    assert (found[0]["average_price"].rstrip("0"), found[0]["is_underfilled"]) == ("15.", "true")
    assert found[0]["ended_at"] == "2025-08-20T12:01:00.123456Z"


def test_parquet_says_the_same_with_times_typed(client: httpx2.Client, tables: Tables) -> None:
    tables.take("a", [event(1), event(1, status="finished", minute=30, executed="10"), event(2)])

    frame = pl.read_parquet(io.BytesIO(client.get(f"{PATH}.parquet").content))

    assert frame.columns == list(COLUMNS)
    assert frame.schema["ended_at"] == pl.Datetime("us", "UTC")
    assert frame["size_executed"].to_list() == ["0.0", "10"]
    assert frame["ended_at"].to_list() == [None, datetime(2025, 8, 20, 12, 30, 0, 123456, tzinfo=UTC)]


@pytest.mark.usefixtures("many")
def test_a_long_export_has_every_row_and_sums_as_in_sql(client: httpx2.Client, engine: Engine) -> None:
    with client.stream("GET", f"{PATH}.csv") as json_response:
        found = list(csv.DictReader(json_response.iter_lines()))
    frame = pl.read_parquet(io.BytesIO(client.get(f"{PATH}.parquet").content))

    with engine.connect() as connection:
        sums = connection.execute(text("SELECT count(*), sum(notional_executed), sum(size_executed) FROM twap_orders"))
        expected = tuple(sums.one())
    assert (len(found), sum(Decimal(one["notional_executed"]) for one in found)) == expected[:2]
    assert (frame.height, sum(map(Decimal, frame["size_executed"]))) == (expected[0], expected[2])


def breaks(client: httpx2.Client, database: URL) -> bool:
    """Return whether a client sees that its CSV broke off, when the database ends the session in the middle of it."""
    kill = (
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE datname = current_database() AND application_name = 'twap_pipeline_api' AND state <> 'idle'"
    )
    received = 0
    try:
        with client.stream("GET", f"{PATH}.csv") as json_response:
            assert json_response.status_code == 200
            for number, part in enumerate(json_response.iter_raw()):
                received += part.count(b"\n")
                if number == 0:
                    with psycopg.connect(database.render_as_string(hide_password=False), autocommit=True) as connection:
                        assert connection.execute(kill).fetchall() == [(True,)]
    except httpx2.RemoteProtocolError:
        assert 0 < received < MANY
        return True
    assert received < MANY, "the whole file came: nothing was broken"
    return False


@pytest.mark.fault("A3")
@pytest.mark.usefixtures("many")
def test_a_database_that_fails_midway_breaks_the_transfer(client: httpx2.Client, database: URL) -> None:
    assert breaks(client, database)
    assert client.get(f"{PATH}.csv").text.count("\n") == MANY + 1
    eventually(
        lambda: (
            'twap_api_responses_aborted_total{route="/api/v1/wallets/{wallet}/export.csv"} 1.0'
            in client.get("/metrics").text
        )
    )


@pytest.mark.fault("A3", control=True)
@pytest.mark.usefixtures("many")
def test_an_export_that_swallows_the_error_would_be_found_out_on_broken_build(
    client: httpx2.Client, database: URL, monkeypatch: pytest.MonkeyPatch
) -> None:
    honest = route.stream_export

    async def swallowing(*arguments: Any) -> AsyncGenerator[bytes, None]:
        with suppress(SQLAlchemyError, OSError):
            async for part in honest(*arguments):
                yield part

    monkeypatch.setattr(route, "stream_export", swallowing)

    assert not breaks(client, database)


@pytest.mark.fault("A5")
@pytest.mark.usefixtures("many")
def test_a_client_that_vanishes_gives_its_connection_back(client: httpx2.Client) -> None:
    in_use = 'twap_api_pool_connections{pool="exports",state="in_use"} '
    for _ in range(6):  # more than the exports have connections
        with client.stream("GET", f"{PATH}.csv") as json_response:
            parts = json_response.iter_raw()  # kept: when it goes, so does the connection
            next(parts)
            assert f"{in_use}0.0" not in client.get("/metrics").text

    eventually(lambda: f"{in_use}0.0" in client.get("/metrics").text)


def test_a_failure_before_the_first_byte_is_an_answer_like_every_other(
    client: httpx2.Client, database: URL, engine: Engine
) -> None:
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE twap_orders CASCADE"))

    json_response = client.get(f"{PATH}.csv")

    assert (json_response.status_code, json_response.json()["title"]) == (503, "Schema not ready")


@pytest.mark.fault("A4")
@pytest.mark.unit
@pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t", "\r"])
def test_text_is_neutralised_and_numbers_are_left_alone(start: str) -> None:
    text = text_of(FORMATS["csv"].writer(), order(asset=f"{start}1+1", size_requested="-1.5", status_error=f"{start}x"))

    (row,) = csv.DictReader(io.StringIO(text, newline=""))
    assert (row["asset"], row["status_error"], row["size_requested"]) == (f"'{start}1+1", f"'{start}x", "-1.5")


@pytest.mark.fault("A4")
@pytest.mark.unit
@given(st.text())
def test_no_text_whatever_begins_a_formula_and_every_text_comes_back(text: str) -> None:
    cell = escape_formula(text) or ""
    assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert text in {cell, cell[1:]}
    encodable = text.encode("utf-8", "ignore").decode()
    assert list(csv.reader(io.StringIO(to_csv_bytes([[encodable, "x"]]).decode(), newline=""))) == [[encodable, "x"]]


@pytest.mark.unit
def test_koinly_s_universal_form() -> None:
    text = text_of(FORMATS["koinly"].writer(), order(), order(side="A", asset="PURR/USDC", twap_id="8"))

    bought, sold = csv.DictReader(io.StringIO(text))
    assert text.splitlines()[0] == (
        "Date,Sent Amount,Sent Currency,Received Amount,Received Currency,Fee Amount,Fee Currency,Net Worth Amount,"
        "Net Worth Currency,Label,Description,TxHash"
    )
    assert bought["Date"] == "2025-08-20 12:30:00 UTC"
    assert (bought["Sent Amount"], bought["Sent Currency"]) == ("60000.10", "USD")
    assert (bought["Received Amount"], bought["Received Currency"]) == ("0.5", "BTC")
    assert (sold["Sent Currency"], sold["Received Currency"]) == ("PURR", "USDC")
    assert (bought["Fee Amount"], bought["TxHash"]) == ("", "")
    assert "8" in sold["Description"]
    assert "fees not included" in sold["Description"]


@pytest.mark.unit
def test_cointracker_s_form() -> None:
    text = text_of(FORMATS["cointracker"].writer(), order())

    header = "Date,Received Quantity,Received Currency,Sent Quantity,Sent Currency,Fee Amount,Fee Currency,Tag"
    assert text.splitlines() == [header, "08/20/2025 12:30:00,0.5,BTC,60000.10,USD,,,"]


@pytest.mark.unit
@pytest.mark.parametrize("name", ["koinly", "cointracker"])
@pytest.mark.parametrize("fault", [{"side": None}, {"side": "X"}, {"notional_executed": None}, {"asset": None}])
def test_an_order_that_is_no_trade_stops_a_tax_export(name: str, fault: dict[str, object]) -> None:
    with pytest.raises(ExportError, match="order 7 executed"):
        text_of(FORMATS[name].writer(), order(**fault))


@pytest.mark.unit
def test_parquet_goes_out_group_by_group() -> None:
    writer = FORMATS["parquet"].writer()
    give: Callable[[], bytes] = lambda: writer.rows([order(twap_id=str(n)) for n in range(2_000)])  # noqa: E731 - short

    sizes = [len(writer.begin()), *(len(give()) for _ in range(25))]

    assert sizes[0] == 4
    assert [number for number, size in enumerate(sizes[1:], 1) if size] == [10, 20]
