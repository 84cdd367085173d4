-- What a tax file reads from the fills of a wallet. :start and :end bound the time of the fills, :end is exclusive;
-- unbounded are -infinity and infinity. :market is spot, perp or all. A sum is NULL if one of its terms is NULL: no fee is
-- left out silently.

-- name: select_fills
-- One row per fill, oldest first. The index on wallet and time returns the first rows before the last ones are read.
SELECT twap_id, concat_ws('-', 'hl-fill', trade_id, side) AS row_id, is_spot, asset, side,
  CASE WHEN NOT is_spot THEN direction END AS direction, ts AS executed_at, 1 AS fill_count,
  trim_scale(size)::text AS size, trim_scale(price * size)::text AS notional,
  trim_scale(realized_pnl)::text AS realized_pnl, trim_scale(fee)::text AS fee,
  trim_scale(realized_pnl - fee)::text AS net_profit, fee_token, quote_symbol,
  CASE WHEN is_flip THEN trim_scale(abs(start_position))::text END AS closed_size,
  CASE WHEN is_flip THEN trim_scale(size - abs(start_position))::text END AS opened_size
FROM (
  SELECT *, {is_spot} AS is_spot, abs(start_position) < size AND start_position <> 0 AS is_flip
  FROM twap_fills
  WHERE wallet = :wallet AND ts >= CAST(:start AS timestamptz) AND ts < CAST(:end AS timestamptz)
) AS fills
WHERE :market = 'all' OR is_spot = (:market = 'spot')
ORDER BY ts, trade_id;

-- name: select_days
-- One row per order, UTC day and direction, with the time of the last fill; oldest first.
WITH fills AS (
  SELECT *, {is_spot} AS is_spot, to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD') AS day,
    abs(start_position) < size AND start_position <> 0 AS is_flip,
    CASE WHEN {is_spot} THEN NULL ELSE direction END AS perp_direction
  FROM twap_fills
  WHERE wallet = :wallet AND ts >= CAST(:start AS timestamptz) AND ts < CAST(:end AS timestamptz)
), executions AS (
  SELECT twap_id, day, is_spot, asset, side, perp_direction AS direction,
    max(ts) AS executed_at, count(*) AS fill_count, sum(size) AS size, sum(price * size) AS notional,
    CASE WHEN count(realized_pnl) = count(*) THEN sum(realized_pnl) END AS realized_pnl,
    CASE WHEN count(fee) = count(*) THEN sum(fee) END AS fee,
    CASE WHEN count(fee_token) = count(*) AND min(fee_token) = max(fee_token) THEN min(fee_token) END AS fee_token,
    CASE WHEN count(quote_symbol) = count(*) AND min(quote_symbol) = max(quote_symbol) THEN min(quote_symbol) END
      AS quote_symbol,
    CASE WHEN bool_and(coalesce(is_flip, FALSE)) THEN sum(abs(start_position)) END AS flipped_size
  FROM fills WHERE :market = 'all' OR is_spot = (:market = 'spot')
  GROUP BY twap_id, day, is_spot, asset, side, perp_direction
)
SELECT twap_id, concat_ws('-', 'hl-twap', twap_id, day,
    coalesce(replace(replace(lower(direction), ' > ', '-to-'), ' ', '-'), side)) AS row_id,
  is_spot, asset, side, direction, executed_at, fill_count,
  trim_scale(size)::text AS size, trim_scale(notional)::text AS notional,
  trim_scale(realized_pnl)::text AS realized_pnl, trim_scale(fee)::text AS fee,
  trim_scale(realized_pnl - fee)::text AS net_profit, fee_token, quote_symbol,
  trim_scale(flipped_size)::text AS closed_size, trim_scale(size - flipped_size)::text AS opened_size
FROM executions ORDER BY executed_at, twap_id, day, direction;

-- name: count_orders
-- The number of orders with a fill of the wallet in the range and market.
SELECT count(DISTINCT twap_id) FROM twap_fills
WHERE wallet = :wallet AND ts >= CAST(:start AS timestamptz) AND ts < CAST(:end AS timestamptz)
  AND (:market = 'all' OR (:market = 'spot') = {is_spot});

-- name: order_states
-- Orders with fills in the range, and orders of the range that executed something and do not reconcile.
-- fill_count and the sums are those of all fills of an order; is_across_years: order and fills are in several UTC years.
SELECT twap_id, state, fill_count, trim_scale(size_executed)::text AS size_executed,
  trim_scale(size_filled)::text AS size_filled, trim_scale(notional_executed)::text AS notional_executed,
  trim_scale(notional_filled)::text AS notional_filled,
  coalesce(extract(YEAR FROM least(started_at, first_fill_at) AT TIME ZONE 'UTC')
    <> extract(YEAR FROM greatest(ended_at, last_fill_at) AT TIME ZONE 'UTC'), FALSE) AS is_across_years
FROM twap_order_reconciliation
WHERE wallet = :wallet
  AND (:market = 'all' OR (:market = 'spot') = coalesce({is_spot}, TRUE))
  AND (
    twap_id IN (
      SELECT twap_id FROM twap_fills
      WHERE wallet = :wallet AND ts >= CAST(:start AS timestamptz) AND ts < CAST(:end AS timestamptz)
    ) OR (
      size_executed > 0 AND state <> 'reconciled'
      AND coalesce(started_at, first_event_at) < CAST(:end AS timestamptz)
      AND coalesce(ended_at, last_status_at) >= CAST(:start AS timestamptz)
    )
  )
ORDER BY coalesce(started_at, first_event_at, first_fill_at), twap_id;

-- name: fees
-- The sums of the fees by token, of the fills in the range without the orders :skipped.
SELECT fee_token AS token, trim_scale(sum(fee))::text AS fee, trim_scale(sum(builder_fee))::text AS builder_fee,
  trim_scale(sum(deployer_fee))::text AS deployer_fee, trim_scale(sum(priority_fee))::text AS priority_fee
FROM twap_fills
WHERE wallet = :wallet AND ts >= CAST(:start AS timestamptz) AND ts < CAST(:end AS timestamptz)
  AND twap_id <> ALL(:skipped)
  AND (:market = 'all' OR (:market = 'spot') = {is_spot})
GROUP BY fee_token ORDER BY fee_token;

-- name: profits
-- The sums of the realized profit of perpetuals by token, before fees, of the fills in the range without :skipped.
SELECT coalesce(quote_symbol, fee_token) AS token, trim_scale(sum(realized_pnl))::text AS realized_profit
FROM twap_fills
WHERE wallet = :wallet AND ts >= CAST(:start AS timestamptz) AND ts < CAST(:end AS timestamptz)
  AND twap_id <> ALL(:skipped)
  AND :market <> 'spot' AND NOT {is_spot}
GROUP BY 1 ORDER BY 1;
