"""SQL expressions for the rank of a status and for the terminal statuses, generated from `domain.status`."""

from collections.abc import Set as AbstractSet

from twap_pipeline.domain.status import STATUS_RANK, TERMINAL_STATUSES, UNKNOWN_STATUS_RANK


def rank_sql(status: str) -> str:
    """Return a CASE expression: the lifecycle rank of the status that an SQL expression gives."""
    cases = " ".join(f"WHEN '{name}' THEN {rank}" for name, rank in STATUS_RANK.items())
    return f"CASE {status} {cases} ELSE {UNKNOWN_STATUS_RANK} END"


def sql_in_list(statuses: AbstractSet[str]) -> str:
    """Return statuses as quoted, sorted elements of an SQL list."""
    return ", ".join(f"'{status}'" for status in sorted(statuses))


ENDED = sql_in_list(TERMINAL_STATUSES)
"""The terminal statuses as an SQL list."""
