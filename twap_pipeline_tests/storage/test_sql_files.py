"""The parser of named queries."""

import pytest

from twap_pipeline.storage.sql_files import parse_queries

pytestmark = pytest.mark.unit

TWO = """-- Shared preamble.

-- name: count_rows
-- The number of stored events.
SELECT count(*) FROM twap_status;

-- name: last_event
-- The latest event time.
SELECT max(ts)
FROM twap_status
"""


def test_two_queries_are_returned_by_name() -> None:
    assert parse_queries(TWO, "two.sql") == {
        "count_rows": "SELECT count(*) FROM twap_status",
        "last_event": "SELECT max(ts)\nFROM twap_status",
    }


def test_fragment_replaces_its_name_in_braces() -> None:
    sql = "-- name: spot\n-- Spot orders.\nSELECT 1 FROM twap_orders WHERE {is_spot} AND asset ~ '{1,9}'"

    queries = parse_queries(sql, "spot.sql", is_spot="(asset LIKE '@%')")

    assert queries == {"spot": "SELECT 1 FROM twap_orders WHERE (asset LIKE '@%') AND asset ~ '{1,9}'"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1", "every query needs"),
        ("-- name: bare\nSELECT 1", "every query needs"),
        ("-- name: a\n-- A.\nSELECT 1;\n-- name: a\n-- A.\nSELECT 2;", "a is defined twice"),
        ("-- name: a\n-- A.\n", "a is empty"),
    ],
)
def test_malformed_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parse_queries(text, "broken.sql")
