"""The table ``spot_pairs``: the shipped snapshot, refreshes and renamed pairs."""

from datetime import UTC, datetime

import pytest
from sqlalchemy import URL, Engine, text

from twap_pipeline.errors import SchemaRevisionError
from twap_pipeline.storage.schema.create import create_schema
from twap_pipeline.storage.symbols.spot_pairs import (
    FIRST_VALID_FROM,
    RecordedPairs,
    read_spot_pairs,
    read_symbols,
    record_spot_pairs,
)
from twap_pipeline_tests.storage.catalog import connected, downgrade_to, upgrade_to

LAST_YEAR = datetime(2025, 12, 31, tzinfo=UTC)


def test_new_schema_has_the_snapshot(database: URL, empty_database: URL) -> None:
    with connected(empty_database) as created, connected(database) as migrated:
        create_schema(created)
        with created.connect() as first, migrated.connect() as second:
            pairs = read_spot_pairs(first)
            assert pairs == read_spot_pairs(second)
            names = [read_symbols(first).resolve(asset, LAST_YEAR) for asset in ("@107", "@232", "@1071")]
            assert names == [("HYPE", "USDC"), ("HYPE", "USDH"), None]


def test_record_spot_pairs_closes_the_names_of_renamed_pairs(engine: Engine) -> None:
    with engine.begin() as connection:
        before = len(read_spot_pairs(connection))
        first = record_spot_pairs(connection, [(107, "HYPE", "USDC"), (900, "NEW", "USDH")], "https://one")
    with engine.begin() as connection:
        second = record_spot_pairs(connection, [(900, "NEWER", "USDH"), (107, "HYPE", "USDC")], "https://two")
        pairs = {pair.pair_index: pair for pair in read_spot_pairs(connection)[:before]}
        old, new = [pair for pair in read_spot_pairs(connection) if pair.pair_index == 900]

    assert (first, second) == (RecordedPairs(1, 0, 1), RecordedPairs(0, 1, 1))
    assert (old.base, old.valid_from, new.base, new.valid_to) == ("NEW", FIRST_VALID_FROM, "NEWER", None)
    assert old.valid_to == new.valid_from
    assert pairs[142].valid_to is None, "a pair that the exchange does not list keeps its names"


def test_downgrade_refuses_only_names_of_the_exchange(database: URL, engine: Engine) -> None:
    downgrade_to(database, "005")
    upgrade_to(database, "head")
    with engine.begin() as connection:
        record_spot_pairs(connection, [(900, "NEW", "USDC")], "https://one")

    with pytest.raises(SchemaRevisionError, match="would destroy rows of spot_pairs"):
        downgrade_to(database, "005")

    with engine.connect() as connection:
        assert connection.scalar(text("SELECT count(*) FROM spot_pairs WHERE source LIKE 'snapshot%'")) > 20
