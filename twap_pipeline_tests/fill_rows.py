"""Fills and log entries of fills, inserted with SQL: for tests of what reads them, not of how they are loaded."""

from datetime import date, datetime, timedelta

from sqlalchemy import Engine, insert

from twap_pipeline.storage.schema.models import etl_s3_ingest_log, twap_fills
from twap_pipeline_tests.factories import DAY, NOON, WALLET


def fill(trade_id: int, twap_id: int = 1, *, minute: float = 1, **values: object) -> dict[str, object]:
    """Return a row of ``twap_fills``: 5 HYPE bought for 42.05 USD each, some minutes after noon."""
    return {
        "trade_id": str(trade_id),
        "wallet": WALLET,
        "twap_id": str(twap_id),
        "ts": NOON + timedelta(minutes=minute),
        "asset": "HYPE",
        "side": "buy",
        "direction": "Open Long",
        "price": "42.05",
        "size": "5",
        "realized_pnl": "0",
        "fee": "0.094612",
        "fee_token": "USDC",
        "is_taker": True,
        "s3_object_key": f"date={DAY}/fills.parquet",
        "s3_last_modified": NOON + timedelta(days=1),
        **values,
    }


def insert_fills(engine: Engine, *fills: dict[str, object], logged: bool = True) -> None:
    """Insert fills, and the log entry of the object that contains them."""
    with engine.begin() as connection:
        if fills:
            connection.execute(insert(twap_fills), list(fills))
    if logged:
        log_fills(engine)


def log_fills(engine: Engine, day: date = DAY, *, key: str = "fills.parquet", error_text: str | None = None) -> None:
    """Insert the log entry of an object of fills."""
    at = datetime(day.year, day.month, day.day, 10, tzinfo=NOON.tzinfo) + timedelta(days=1)
    entry = {
        "data_set": "twap_fills",
        "s3_object_key": f"date={day}/{key}",
        "last_modified": at,
        "ingested_at": at,
        "object_date": day,
        "error_text": error_text,
        "rows_read": 2,
        **dict.fromkeys(("rows_updated", "rows_unchanged", "rows_superseded", "rows_quarantined", "rows_metadata"), 0),
        "rows_inserted": 2,
    }
    with engine.begin() as connection:
        connection.execute(insert(etl_s3_ingest_log), [entry])
