"""An order's life in SQL: the place of a status in it, and which statuses end it, from the domain's vocabulary."""

from twap_pipeline.domain.status import STATUS_RANK, TERMINAL_STATUSES, UNKNOWN_STATUS_RANK


def rank_sql(status: str) -> str:
    """Return SQL for the place in an order's life of the status that an expression gives."""
    cases = " ".join(f"WHEN '{name}' THEN {rank}" for name, rank in STATUS_RANK.items())
    return f"CASE {status} {cases} ELSE {UNKNOWN_STATUS_RANK} END"


def quoted(statuses: set[str] | frozenset[str]) -> str:
    """Return statuses as a list for SQL's IN."""
    return ", ".join(f"'{status}'" for status in sorted(statuses))


ENDED = quoted(TERMINAL_STATUSES)
"""The statuses after which nothing follows."""
