"""The composed statements of merge.sql contain the declared columns of each data set."""

import re

import pytest
from psycopg import sql

from twap_pipeline.domain.data_set import TWAP_FILLS, TWAP_STATUS, DataSet
from twap_pipeline.storage.loading import merge
from twap_pipeline.storage.loading.merge import copied_columns, staged_columns
from twap_pipeline.storage.schema.models import metadata

pytestmark = [
    pytest.mark.unit,
    pytest.mark.parametrize("data_set", [TWAP_STATUS, TWAP_FILLS], ids=[TWAP_STATUS.name, TWAP_FILLS.name]),
]


def composed(query: str, data_set: DataSet) -> str:
    """Return the text of a query, without the quotes of names."""
    target, bound = sql.Identifier("target"), sql.Literal("bound")
    return merge._compose(query, data_set, target=target, start=bound, end=bound).decode().replace('"', "")


def names(list_of_columns: str) -> list[str]:
    """Return the names in a list of columns or expressions: of an expression, the column that it is or names."""
    return [re.split(r"[\s.]+", item.strip())[-1] for item in list_of_columns.split(",")]


def between(text: str, start: str, end: str) -> str:
    """Return the text after the first ``start`` and before the next ``end``."""
    return text.partition(start)[2].partition(end)[0]


def test_staging_table_has_the_staged_columns(data_set: DataSet) -> None:
    columns = names(between(composed("prepare_staging", data_set), "SELECT", "FROM"))

    assert tuple(columns) == staged_columns(data_set)


def test_insert_names_every_column_of_the_table(data_set: DataSet) -> None:
    columns = names(between(composed("merge_staged", data_set), "INSERT INTO target AS stored (", ")"))

    assert sorted(columns) == sorted(column.name for column in metadata.tables[data_set.name].columns)


def test_insert_selects_the_columns_in_the_same_order(data_set: DataSet) -> None:
    merge_staged = composed("merge_staged", data_set)
    inserted = names(between(merge_staged, "INSERT INTO target AS stored (", ")"))
    selected = between(merge_staged.partition("INSERT INTO")[2], "SELECT", "CASE").replace("::json", "").strip(" ,")

    assert names(selected) == inserted[:-1] == list(copied_columns(data_set))


def test_update_sets_every_column_but_the_key(data_set: DataSet) -> None:
    assignments = between(composed("merge_staged", data_set), "DO UPDATE SET", "WHERE")
    columns = re.findall(r"(\w+) = excluded\.(\w+),", assignments)

    assert columns == [(name, name) for name in copied_columns(data_set) if name not in data_set.key_columns]


@pytest.mark.parametrize("row", ["staged", "stored"])
def test_comparison_contains_every_content_column(data_set: DataSet, row: str) -> None:
    left, _, right = composed("merge_staged", data_set).partition(") IS NOT DISTINCT FROM (")
    compared = left.rpartition("(")[2] if row == "staged" else right.partition(") AS is_same_content")[0]

    assert re.findall(rf"{row}\.(\w+)", compared) == list(data_set.content_columns)
