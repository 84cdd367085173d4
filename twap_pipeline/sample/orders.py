"""Random orders with plausible histories: owner, times, duration and terminal status.

The shares are those of the feed on one market: 47 % finished (3 % of them underfilled), 40 % terminated, 12 % error,
median duration 30 minutes, 17 % of three hours or more, 60 % buys, and most orders from few wallets.
Coins, sizes and notionals belong in ``prices``; the rows of the feed belong in ``events``.
"""

from datetime import datetime
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from twap_pipeline.sample.prices import draw_trades

MILLISECOND_NS = 1_000_000
SECOND_NS = 1_000 * MILLISECOND_NS
MINUTE_NS = 60 * SECOND_NS
HOUR_NS = 60 * MINUTE_NS
DAY_NS = 24 * HOUR_NS
BLOCK_NS = 80 * MILLISECOND_NS
"""Time between two blocks, a divisor of a day. All events of one block have the same time."""

DURATION_SHARES: dict[int, float] = {
    5: 0.12, 10: 0.12, 15: 0.11, 20: 0.06, 30: 0.18, 45: 0.04, 60: 0.11, 90: 0.03, 120: 0.06,
    180: 0.05, 240: 0.035, 360: 0.03, 480: 0.015, 720: 0.02, 1440: 0.02,
}  # fmt: skip
"""Planned durations in minutes, and their shares."""

TERMINAL_STATUS_SHARES: dict[str, float] = {"finished": 0.475, "terminated": 0.4, "error": 0.125}
"""Terminal statuses and their shares. Orders that outlast the sample have none."""

ERROR_SHARES: dict[str, float] = {
    "Insufficient margin to place order.": 0.8,
    "Reduce only order would increase position.": 0.14,
    "Order must have minimum value of $10.": 0.06,
}

_BUYS, _REDUCE_ONLY, _RANDOMIZED, _UNDERFILLED = 0.6, 0.15, 0.3, 0.03
_WALLETS, _ZIPF_EXPONENT = 1_200, 1.1
_RARE_ORDERS = 10


def draw_orders(
    rng: np.random.Generator, *, start: datetime, days: int, count: int, first_twap_id: int, include_rare: bool = True
) -> pl.DataFrame:
    """Return random orders, sorted by creation.

    Args:
        rng: The random generator.
        start: Midnight, aware UTC, of the first day of creations.
        days: Number of days of creations.
        count: Number of orders.
        first_twap_id: Id of the first order; the ids are consecutive.
        include_rare: Whether some orders fail in the block of their activation, wait for a trigger, or pause.

    Returns:
        Shape (count, 17): ids and flags; ``*_ns`` in epoch ns; ``*_micros`` in millionths of a coin or a dollar.
        ``paused_ns`` is null except for orders that pause.
    """
    start_ns = int(start.timestamp()) * SECOND_NS
    created_ns = _draw_creations(rng, start_ns, days, count)
    minutes = _draw(rng, DURATION_SHARES, count)
    status = _draw(rng, TERMINAL_STATUS_SHARES, count)
    progress = _draw_progress(rng, status)
    elapsed_ns = (minutes * MINUTE_NS * progress).astype(np.int64) + rng.integers(400, 2_500, count) * MILLISECOND_NS
    frame = pl.DataFrame(
        {
            "twap_id": first_twap_id + np.arange(count),
            "state_user": _draw_wallets(rng, count),
            "state_side": np.where(rng.random(count) < _BUYS, "B", "A"),
            "state_minutes": minutes,
            "state_reduceOnly": rng.random(count) < _REDUCE_ONLY,
            "state_randomize": rng.random(count) < _RANDOMIZED,
            **_draw_rare(status, created_ns, elapsed_ns, include_rare=include_rare),
            **draw_trades(rng, (created_ns - start_ns) // HOUR_NS, _draw_executed_share(rng, status, progress)),
            "status_error": _draw(rng, ERROR_SHARES, count),
        }
    )
    fails_on_activation = pl.col("ended_ns") == pl.col("created_ns")
    return frame.with_columns(
        pl.col("paused_ns").replace(0, None),
        pl.col("executed_micros", "notional_micros") * ~fails_on_activation,
        pl.when(pl.col("status") == "error").then("status_error").alias("status_error"),
    )


def block_times(times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the time of each time's block, with digits down to the nanosecond; equal for all times of a block.

    The digits of a block repeat every day, so that times can be shifted by whole days.
    """
    block, number = times_ns // BLOCK_NS, times_ns % DAY_NS // BLOCK_NS
    return block * BLOCK_NS + (number * 48_271 + 11) % 65_537 * 1_000 + number % 997


def _draw(rng: np.random.Generator, shares: dict[Any, float], count: int) -> NDArray[Any]:
    return np.array(list(shares))[rng.choice(len(shares), count, p=list(shares.values()))]


def _draw_creations(rng: np.random.Generator, start_ns: int, days: int, count: int) -> NDArray[np.int64]:
    hourly = 1 + 0.45 * np.cos((np.arange(24) - 15) / 24 * 2 * np.pi)
    hour = rng.choice(24, count, p=hourly / hourly.sum())
    times_ns = start_ns + rng.integers(0, days, count) * DAY_NS + hour * HOUR_NS + rng.integers(0, HOUR_NS, count)
    return np.sort(block_times(times_ns))


def _draw_wallets(rng: np.random.Generator, count: int) -> NDArray[Any]:
    wallets = np.array([f"0x{rng.bytes(20).hex()}" for _ in range(_WALLETS)])
    weights = np.arange(1, _WALLETS + 1) ** -_ZIPF_EXPONENT
    return wallets[rng.choice(_WALLETS, count, p=weights / weights.sum())]


def _draw_progress(rng: np.random.Generator, status: NDArray[Any]) -> NDArray[np.float64]:
    early = np.where(status == "error", rng.beta(0.6, 1.5, status.size), rng.beta(1.0, 1.6, status.size))
    return np.where(status == "finished", 1.0, early)


def _draw_executed_share(
    rng: np.random.Generator, status: NDArray[Any], progress: NDArray[np.float64]
) -> NDArray[np.float64]:
    is_unfilled = rng.random(status.size) < np.where(status == "error", 0.5, 0.08)
    partial_share = np.where(is_unfilled, 0.0, np.clip(progress * rng.uniform(0.9, 1.05, status.size), 0.0, 0.999))
    is_underfilled = rng.random(status.size) < _UNDERFILLED
    return np.where(
        status == "finished", np.where(is_underfilled, rng.uniform(0.3, 0.999, status.size), 1.0), partial_share
    )


def _draw_rare(
    status: NDArray[Any], created_ns: NDArray[np.int64], elapsed_ns: NDArray[np.int64], *, include_rare: bool
) -> dict[str, NDArray[Any]]:
    """Return the status and times of each order, some of them of a rare form; ``paused_ns`` is 0 without a pause."""
    status, elapsed_ns = status.astype("<U12"), elapsed_ns.copy()
    activated_ns, paused_ns = created_ns.copy(), np.zeros_like(created_ns)
    if include_rare:
        failed = np.flatnonzero(status == "error")
        elapsed_ns[failed[failed.size // 2 :: 50]] = 0
        long_running = np.flatnonzero((status == "terminated") & (elapsed_ns > 10 * MINUTE_NS))
        step = max(2, long_running.size // _RARE_ORDERS)
        waiting, pausing = long_running[::step], long_running[step // 2 :: step]
        activated_ns[waiting] = block_times(created_ns[waiting] + 90 * SECOND_NS)
        paused_ns[pausing] = block_times(created_ns[pausing] + elapsed_ns[pausing] // 2)
        status[waiting] = "stopped"
    return {
        "status": status,
        "created_ns": created_ns,
        "activated_ns": activated_ns,
        "paused_ns": paused_ns,
        "ended_ns": block_times(created_ns + elapsed_ns),
    }
