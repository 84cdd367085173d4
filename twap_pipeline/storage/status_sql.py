"""The declared statuses as SQL: a ``.sql`` file contains them as placeholders in braces.

A module passes `FRAGMENTS` to `load_queries`, so that a new status is added in one place.
"""

from collections.abc import Iterable

from twap_pipeline.domain.status import STATUS_RANK, TERMINAL_STATUSES, UNKNOWN_STATUS_RANK


def rank_sql(status: str) -> str:
    """Return a CASE expression: the lifecycle rank of the status that an SQL expression gives."""
    cases = " ".join(f"WHEN '{name}' THEN {rank}" for name, rank in STATUS_RANK.items())
    return f"CASE {status} {cases} ELSE {UNKNOWN_STATUS_RANK} END"


def _list(statuses: Iterable[str]) -> str:
    return ", ".join(f"'{status}'" for status in sorted(statuses))


FRAGMENTS = {
    "rank": rank_sql("status"),
    "known_statuses": _list(STATUS_RANK),
    "terminal_statuses": _list(TERMINAL_STATUSES),
    "early_statuses": _list(name for name, rank in STATUS_RANK.items() if rank < UNKNOWN_STATUS_RANK),
}
"""Name → SQL: the rank of the column ``status``, and lists of statuses for ``IN``; early ones precede execution."""
