"""What the tests of the commands share: the outcome of a command, object keys, and the stored rows."""

from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import Engine, text

from twap_pipeline_tests.factories import DAY


@dataclass(frozen=True)
class Outcome:
    """Exit status and output of a command."""

    status: int
    out: str
    err: str


Command = Callable[..., Outcome]


def key(name: str) -> str:
    return f"hourly/{DAY:%Y/%m/%d}/12/{name}.parquet"


def order_ids(engine: Engine) -> list[str]:
    with engine.connect() as connection:
        return list(connection.execute(text("SELECT twap_id FROM twap_orders ORDER BY 1")).scalars())


def count_rows(engine: Engine) -> int:
    with engine.connect() as connection:
        return int(connection.execute(text("SELECT count(*) FROM twap_status")).scalar_one())
