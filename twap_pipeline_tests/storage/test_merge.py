"""The column lists of merge.sql equal the declared columns."""

import re

import pytest

from twap_pipeline.domain.status import CONTENT_COLUMNS, KEY_COLUMNS
from twap_pipeline.storage.loading.merge import COPIED_COLUMNS, STAGED_COLUMNS
from twap_pipeline.storage.schema.models import twap_status
from twap_pipeline.storage.sql_files import load_queries

pytestmark = pytest.mark.unit

QUERIES = load_queries("twap_pipeline.storage.loading", "merge.sql")
MERGE = QUERIES["merge_staged"]


def names(list_of_columns: str) -> list[str]:
    """Return the names in a list of columns or expressions: of an expression, the column that it is or names."""
    return [re.split(r"[\s.]+", item.strip())[-1] for item in list_of_columns.split(",")]


def between(text: str, start: str, end: str) -> str:
    """Return the text after the first ``start`` and before the next ``end``."""
    return text.partition(start)[2].partition(end)[0]


def test_staging_table_has_the_staged_columns() -> None:
    columns = names(between(QUERIES["prepare_staging"], "SELECT", "FROM"))

    assert tuple(columns) == STAGED_COLUMNS


def test_insert_names_every_column_of_the_table() -> None:
    columns = names(between(MERGE, "INSERT INTO {target} AS stored (", ")"))

    assert sorted(columns) == sorted(column.name for column in twap_status.columns)


def test_insert_selects_the_columns_in_the_same_order() -> None:
    inserted = names(between(MERGE, "INSERT INTO {target} AS stored (", ")"))
    selected = between(MERGE.partition("INSERT INTO")[2], "SELECT", "CASE").replace("::json", "").rstrip().rstrip(",")

    assert names(selected) == inserted[: len(COPIED_COLUMNS)] == list(COPIED_COLUMNS)


def test_update_sets_every_column_but_the_key() -> None:
    assignments = between(MERGE, "DO UPDATE SET", "WHERE")
    columns = re.findall(r"^ *(\w+) = ", assignments, re.MULTILINE)

    assert sorted(columns) == sorted({column.name for column in twap_status.columns} - set(KEY_COLUMNS))
    assert re.findall(r"(\w+) = excluded\.(\w+),", assignments) == [(name, name) for name in columns[:-1]]


@pytest.mark.parametrize("row", ["staged", "stored"])
def test_comparison_contains_every_content_column(row: str) -> None:
    left, _, right = MERGE.partition(") IS NOT DISTINCT FROM (")
    compared = left.rpartition("(")[2] if row == "staged" else right.partition(") AS is_same_content")[0]

    assert re.findall(rf"{row}\.(\w+)", compared) == list(CONTENT_COLUMNS)
