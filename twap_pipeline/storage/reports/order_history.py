"""The stored events of one order."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal

from sqlalchemy import Connection, select

from twap_pipeline.domain.status import TERMINAL_STATUSES
from twap_pipeline.storage.schema.models import twap_status


@dataclass(frozen=True, slots=True)
class Event:
    """One stored event; columns of ``twap_status``."""

    ts: datetime
    status: str | None
    status_error: str | None
    size_requested: Decimal | None
    size_executed: Decimal | None
    notional_executed: Decimal | None
    asset: str | None
    side: str | None
    wallet: str
    duration_minutes: int | None
    s3_object_key: str


def order_history(connection: Connection, twap_id: str) -> list[Event]:
    """Return the events of an order, oldest first; empty if there are none."""
    names = Event.__dataclass_fields__
    statement = select(*(twap_status.c[name] for name in names)).where(twap_status.c.twap_id == twap_id)
    return [Event(*row) for row in connection.execute(statement.order_by(twap_status.c.ts))]


def largest_ended_order(connection: Connection) -> str | None:
    """Return the twap_id of the ended order with the largest executed notional, as an example; None without one."""
    statement = (
        select(twap_status.c.twap_id)
        .where(twap_status.c.status.in_(TERMINAL_STATUSES), twap_status.c.notional_executed.is_not(None))
        .order_by(twap_status.c.notional_executed.desc(), twap_status.c.twap_id)
        .limit(1)
    )
    return connection.execute(statement).scalar_one_or_none()
