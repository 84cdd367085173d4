"""The table ``spot_pairs``: the names of spot pairs, with the range of time in which they are valid.

``snapshot.sql`` fills the table when it is created; `record_spot_pairs` adds what the exchange lists. What an asset
means is defined in `domain.symbols`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import Connection, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from twap_pipeline.domain.symbols import SpotPair, SymbolResolver
from twap_pipeline.storage.schema.models import spot_pairs
from twap_pipeline.storage.sql_files import load_queries

FIRST_VALID_FROM = datetime(1970, 1, 1, tzinfo=UTC)
"""``valid_from`` of the first recorded names of a pair: they also apply to the time before they were recorded."""

INSERT_SNAPSHOT = load_queries("twap_pipeline.storage.symbols", "snapshot.sql")["insert_snapshot"]


@dataclass(frozen=True, slots=True)
class RecordedPairs:
    """The number of pairs that `record_spot_pairs` added, renamed and found unchanged."""

    added: int
    renamed: int
    unchanged: int


def read_spot_pairs(connection: Connection) -> list[SpotPair]:
    """Return all recorded names, by index and time."""
    columns = spot_pairs.c
    query = select(columns.pair_index, columns.base, columns.quote, columns.valid_from, columns.valid_to)
    return [SpotPair(*row) for row in connection.execute(query.order_by(columns.pair_index, columns.valid_from))]


def read_symbols(connection: Connection) -> SymbolResolver:
    """Return a resolver with all recorded names."""
    return SymbolResolver(read_spot_pairs(connection))


def record_spot_pairs(connection: Connection, names: Iterable[tuple[int, str, str]], source: str) -> RecordedPairs:
    """Record the names that the exchange lists now. Pairs that it does not list keep their names.

    The exchange does not state when a pair was renamed: the former names end, and the new names begin, now.

    Args:
        connection: In a transaction, which the caller commits. Other writers of the table wait for it.
        names: Index, base and quote of each pair.
        source: Where the names come from, for the column of this name.
    """
    connection.execute(text("LOCK TABLE spot_pairs IN SHARE ROW EXCLUSIVE MODE"))
    now = connection.execute(select(func.clock_timestamp())).scalar_one()
    current = {pair.pair_index: pair for pair in read_spot_pairs(connection) if pair.valid_to is None}
    listed = {index: (base, quote) for index, base, quote in names}
    unchanged = {index for index, pair in current.items() if listed.get(index) == (pair.base, pair.quote)}
    renamed = current.keys() & listed.keys() - unchanged
    if renamed:
        is_renamed = spot_pairs.c.pair_index.in_(renamed) & spot_pairs.c.valid_to.is_(None)
        connection.execute(update(spot_pairs).where(is_renamed).values(valid_to=now))
    rows = [
        {
            "pair_index": index,
            "base": base,
            "quote": quote,
            "valid_from": now if index in renamed else FIRST_VALID_FROM,
            "source": source,
        }
        for index, (base, quote) in listed.items()
        if index not in unchanged
    ]
    if rows:
        connection.execute(insert(spot_pairs), rows)
    return RecordedPairs(len(rows) - len(renamed), len(renamed), len(unchanged))
