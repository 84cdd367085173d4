"""The SQL expression for the rank of a status, generated from `domain.status`."""

from twap_pipeline.domain.status import STATUS_RANK, UNKNOWN_STATUS_RANK


def rank_sql(status: str) -> str:
    """Return a CASE expression: the lifecycle rank of the status that an SQL expression gives."""
    cases = " ".join(f"WHEN '{name}' THEN {rank}" for name, rank in STATUS_RANK.items())
    return f"CASE {status} {cases} ELSE {UNKNOWN_STATUS_RANK} END"
