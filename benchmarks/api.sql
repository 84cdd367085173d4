-- Queries of benchmarks/api.py. Parameters are psycopg's.

-- name: fill
-- Inserts the orders of one year with two events each, of a few wallets that have most of them, and fills twap_orders.
CREATE TEMP TABLE made AS
SELECT (1000000 + n)::text AS twap_id,
  '0x' || lpad(to_hex(floor(power(random(), 3) * %(wallets)s)::int), 40, '0') AS wallet,
  timestamptz '2025-01-01Z' + n * (interval '365 days' / %(orders)s) AS began,
  (ARRAY['BTC', 'ETH', 'SOL', 'HYPE', '@107'])[1 + n %% 5] AS asset, (ARRAY['A', 'B'])[1 + n %% 2] AS side,
  (ARRAY['finished', 'finished', 'finished', 'terminated', 'error'])[1 + n / 5 %% 5] AS status,
  round((random() * 1000)::numeric, 5) AS size, 5 + n %% 300 AS minutes
FROM generate_series(1, %(orders)s) AS n;

INSERT INTO twap_status (twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status,
  duration_minutes, started_at, reduce_only, randomize, s3_object_key, s3_last_modified, raw_payload)
SELECT twap_id, wallet, ts, asset, side, size, executed, executed * 42, state, minutes, began, false, true,
  'hourly/' || ts::date, ts, json_build_object('twap_id', twap_id, 'time', ts, 'block_time', ts,
    'block_number', 1000000000, 'state_user', wallet, 'state_coin', asset, 'state_side', side, 'state_sz', size::text,
    'state_executedSz', executed::text, 'state_executedNtl', (executed * 42)::text, 'state_minutes', minutes,
    'state_reduceOnly', false, 'state_randomize', true, 'state_timestamp', 1790248352992, 'status', state)
FROM (
  SELECT *, began AS ts, 0.0 AS executed, 'activated' AS state FROM made
  UNION ALL
  SELECT *, began + minutes * interval '1 minute', CASE status WHEN 'error' THEN 0 ELSE size END, status FROM made
) AS events;

INSERT INTO twap_orders (twap_id, wallet, asset, side, size_requested, size_executed, notional_executed, status,
  last_status_at, started_at, ended_at, duration_minutes, reduce_only, randomize, event_count, first_event_at,
  first_object_key, last_object_key)
SELECT twap_id, wallet, asset, side, size, executed, executed * 42, status, ended, began, ended, minutes, false, true,
  2, began, 'hourly/a', 'hourly/b'
FROM (
  SELECT *, CASE status WHEN 'error' THEN 0 ELSE size END AS executed, began + minutes * interval '1 minute' AS ended
  FROM made
) AS ended;

-- name: select_newest_orders
-- The newest 100 orders.
SELECT * FROM twap_orders ORDER BY length(twap_id) DESC, twap_id DESC, wallet DESC LIMIT 100;

-- name: select_orders_of_a_wallet
-- The newest 100 orders of a wallet.
SELECT * FROM twap_orders WHERE wallet = %(wallet)s ORDER BY length(twap_id) DESC, twap_id DESC LIMIT 100;

-- name: select_events_of_an_order
-- All events of an order.
SELECT twap_id, asset, side, status, duration_minutes, ts, size_executed, notional_executed, raw_payload
FROM twap_status WHERE twap_id = %(twap_id)s;

-- name: select_summary_of_a_wallet
-- Sums per asset and side.
SELECT asset, side, count(*), sum(size_requested), sum(size_executed), sum(notional_executed)
FROM twap_orders
WHERE wallet = %(wallet)s AND last_status_at >= %(start)s AND last_status_at < %(end)s
GROUP BY asset, side;

-- name: select_wallet_with_most_orders
-- Wallet, number of orders, notional in USD of all and of its spot orders, of one year.
SELECT wallet, count(*), sum(notional_executed), sum(notional_executed) FILTER (WHERE asset LIKE '@%%') FROM twap_orders
WHERE last_status_at < '2026-01-01Z' GROUP BY wallet ORDER BY count(*) DESC LIMIT 1;
