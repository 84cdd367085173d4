"""The .sql files write out columns; these tests compare them with the declared ones."""

import re
from collections.abc import Iterable

import pytest
from sqlalchemy import Table

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.domain.order_columns import DAILY_STATS_SOURCES, ORDER_SOURCES
from twap_pipeline.storage.audit.data_checks import CHECKS, FILLS_CHECKS
from twap_pipeline.storage.audit.verification import comparison_placeholders
from twap_pipeline.storage.data_set_sql import compose
from twap_pipeline.storage.ingest_log import ATTEMPTS_MAX
from twap_pipeline.storage.schema.models import (
    VIEWS,
    etl_s3_ingest_history,
    etl_s3_ingest_log,
    twap_daily_stats,
    twap_fills,
    twap_orders,
    twap_status,
)
from twap_pipeline.storage.sql_files import load_queries
from twap_pipeline.storage.status_sql import FRAGMENTS

pytestmark = pytest.mark.unit

REFRESH = load_queries("twap_pipeline.storage.orders", "refresh.sql", **FRAGMENTS)
CHECK_QUERIES = load_queries("twap_pipeline.storage.audit", "data_checks.sql", **FRAGMENTS)
VERIFICATION = load_queries("twap_pipeline.storage.audit", "verification.sql")
INGEST_LOG = load_queries("twap_pipeline.storage", "ingest_log.sql")
ORDER_COLUMNS = [
    column.name for column in twap_orders.columns if column.computed is None and column.name != "refreshed_at"
]
DERIVED_COLUMNS = [name for name in ORDER_COLUMNS if name not in {"twap_id", "wallet"}]
VERSION_COLUMNS = {
    column.name
    for column in etl_s3_ingest_history.columns
    if column.name not in {"history_id", "s3_object_key", "kind", "recorded_at"}
}


def words(sql: str) -> str:
    """Return SQL with single spaces."""
    return re.sub(r"\s+", " ", sql)


def listed(text: str) -> list[str]:
    """Return the comma-separated names of a list."""
    return [name.strip() for name in text.split(",")]


def between(sql: str, start: str, end: str) -> str:
    """Return the text between two fragments, each of which occurs."""
    return words(sql).split(start, 1)[1].split(end, 1)[0]


def test_refresh_writes_every_order_column() -> None:
    inserted = listed(between(REFRESH["write_orders"], "twap_orders AS stored (", ")"))
    updated = re.findall(r"(\w+) = excluded\.\1", REFRESH["write_orders"])

    assert sorted(inserted) == sorted(ORDER_COLUMNS)
    assert sorted(updated) == sorted(DERIVED_COLUMNS)


@pytest.mark.parametrize(
    ("query", "derived"),
    [("write_orders", "excluded"), ("compare_derived_orders", "derived")],
)
def test_refresh_compares_every_order_column(query: str, derived: str) -> None:
    stored = between(REFRESH[query], "WHERE ( ", " ) IS DISTINCT FROM (")
    compared = between(REFRESH[query], ") IS DISTINCT FROM (", " )")
    numeric = {column.name for column in twap_orders.columns if str(column.type) == "NUMERIC"}

    assert stored == compared.strip().replace(f"{derived}.", "stored.")
    assert sorted(listed(stored)) == sorted(
        f"stored.{name}{'::text' if name in numeric else ''}" for name in DERIVED_COLUMNS
    )


@pytest.mark.parametrize("check", ["no_parked_objects", "no_parked_fill_objects"])
def test_parked_objects_have_the_declared_attempts(check: str) -> None:
    assert f"failed_attempts >= {ATTEMPTS_MAX}" in CHECK_QUERIES[check]


def test_every_data_check_query_belongs_to_a_check() -> None:
    assert {check.name for check in (*CHECKS, *FILLS_CHECKS)} == set(CHECK_QUERIES)


@pytest.mark.parametrize(("data_set", "table"), [(TWAP_STATUS, twap_status), (TWAP_FILLS, twap_fills)])
def test_verification_compares_every_column(data_set: DataSet, table: Table) -> None:
    compared = set(table.columns.keys()) - {*data_set.key_columns, "inserted_at"}
    sql = compose(VERIFICATION["create_row_mismatches"], data_set, **comparison_placeholders(data_set))

    def names(form: str) -> list[str]:
        return sorted(name.strip('"') for name in re.findall(form, sql))

    differing = r"CASE WHEN stored\.\S+::text IS DISTINCT FROM expected\.\S+::text THEN '(\w+)' END"
    assert names(differing) == sorted(compared)
    for row in ("stored", "expected"):
        assert names(rf"(?<=[( ]){row}\.(\S+)::text(?=[,)])") == sorted(compared)


def test_ingest_log_statements_write_every_column() -> None:
    inserted = listed(between(INGEST_LOG["record_version"], "INTO etl_s3_ingest_log AS stored (", ")"))
    replaced = re.findall(r"^  (\w+) = ", INGEST_LOG["record_version"].split("DO UPDATE")[1], re.MULTILINE)

    assert {*inserted, "orders_refreshed_at"} == {column.name for column in etl_s3_ingest_log.columns}
    assert {*replaced, "data_set", "s3_object_key"} == {column.name for column in etl_s3_ingest_log.columns}


@pytest.mark.parametrize("query", ["record_version", "requeue"])
def test_history_receives_every_version_column(query: str) -> None:
    copied = listed(between(INGEST_LOG[query], "INTO etl_s3_ingest_history (", ")"))
    selected = listed(between(INGEST_LOG[query], ") SELECT ", " FROM"))

    assert set(copied) == {"s3_object_key", "kind", "recorded_at", *VERSION_COLUMNS}
    assert [name for name in selected if name.isidentifier()] == [
        name for name in copied if name not in {"kind", "recorded_at"}
    ]


def identifiers(expression: str, columns: Iterable[str]) -> set[str]:
    """Return the columns that an SQL expression without its string literals names."""
    return set(re.findall(r"[a-z_]\w*", re.sub(r"'[^']*'", "", expression))) & set(columns)


def select_list(sql: str) -> dict[str, str]:
    """Return name → expression of a SELECT list, whose commas in parentheses do not separate."""
    items, depth = [""], 0
    for character in sql:
        depth += {"(": 1, ")": -1}.get(character, 0)
        if character == "," and depth == 0:
            items.append("")
        else:
            items[-1] += character
    return {item.split(" AS ")[-1].strip(): item for item in items}


def test_order_sources_equal_the_columns_of_the_refresh() -> None:
    """Rows without a column, such as count(*), come from all events of the key."""
    columns = twap_status.columns.keys()
    sql = between(REFRESH["derive_orders"], "DISTINCT ON (twap_id, wallet) ", " FROM events")
    sources = {name: identifiers(text.split(" AS ")[0], columns) for name, text in select_list(sql).items()}
    sources |= {"twap_id": {"twap_id"}, "wallet": {"wallet"}, "event_count": {"twap_id", "wallet"}}
    for column in twap_orders.columns:
        if column.computed is not None:
            parents = identifiers(str(column.computed.sqltext), sources)
            sources[column.name] = set().union(*(sources[parent] for parent in parents))

    assert {name: set(names) for name, names in ORDER_SOURCES.items()} == sources
    assert ORDER_SOURCES.keys() == set(twap_orders.columns.keys()) - {"refreshed_at"}


def test_daily_stats_sources_equal_the_columns_of_the_view() -> None:
    selected = select_list(between(VIEWS["twap_daily_stats"], "SELECT ", " FROM twap_orders"))
    sources = {name: identifiers(text.split(" AS ")[0], twap_orders.columns.keys()) for name, text in selected.items()}
    sources["order_count"] = {"twap_id", "wallet"}

    assert {name: set(names) for name, names in DAILY_STATS_SOURCES.items()} == sources
    assert list(DAILY_STATS_SOURCES) == twap_daily_stats.columns.keys()
