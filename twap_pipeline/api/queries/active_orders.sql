-- name: active_orders
-- One row: active and stale orders as JSON arrays (text), at most :limit orders each, and their counts.
WITH open_orders AS (
  SELECT *, CASE WHEN status IS DISTINCT FROM 'waitingForTrigger'
    THEN coalesce(started_at, first_event_at) + duration_minutes * interval '1 minute' END AS expected_end
  FROM twap_orders
  WHERE ended_at IS NULL AND (wallet = :wallet OR :wallet IS NULL) AND (asset = :asset OR :asset IS NULL)
), estimates AS MATERIALIZED (
  SELECT *, coalesce(expected_end + :stale_after < now(), false) AS is_stale,
    greatest(0, extract(epoch FROM expected_end - now()) / 60) AS minutes_left
  FROM open_orders
), bodies AS (
  SELECT
    is_stale,
    row_number() OVER (
      PARTITION BY is_stale
      ORDER BY CASE WHEN is_stale THEN now() - expected_end ELSE expected_end - now() END, length(twap_id), twap_id
    ) AS position,
    json_build_object(
      'twap_id', twap_id,
      'wallet', wallet,
      'asset', asset,
      'symbol', {current_symbol},
      'side', side,
      'status', status,
      'size_requested', size_requested::text,
      'started_at', to_char(started_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'duration_minutes', duration_minutes,
      'expected_end', to_char(expected_end AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
      'estimate_remaining_size', round(CASE WHEN expected_end IS NULL THEN size_requested
        ELSE size_requested * least(1, minutes_left / nullif(duration_minutes, 0)) END, 8)::text
    ) AS body
  FROM estimates
)
SELECT
  to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS as_of,
  -- An event is in an object of its day or of the next one, so that the latest event is in an object of the last days.
  (SELECT to_char(max(last_event_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM etl_s3_ingest_log
    WHERE object_date >= (SELECT max(object_date) FROM etl_s3_ingest_log WHERE data_set = 'twap_status') - 8
      AND data_set = 'twap_status' AND orders_refreshed_at IS NOT NULL
  ) AS data_until,
  count(*) FILTER (WHERE NOT is_stale) AS active_count,
  count(*) FILTER (WHERE is_stale) AS stale_count,
  coalesce(json_agg(body ORDER BY position) FILTER (WHERE NOT is_stale AND position <= :limit), '[]')::text AS active,
  coalesce(json_agg(body ORDER BY position) FILTER (WHERE is_stale AND position <= :limit), '[]')::text AS stale
FROM bodies;

-- name: pressure
-- One row: estimated volume of active orders by asset and horizon, as a JSON array (text).
WITH open_orders AS (
  SELECT asset, side, size_requested, duration_minutes,
    coalesce(started_at, first_event_at) + duration_minutes * interval '1 minute' AS expected_end
  FROM twap_orders
  WHERE ended_at IS NULL AND status IS DISTINCT FROM 'waitingForTrigger' AND (asset = :asset OR :asset IS NULL)
), running AS (
  SELECT *, extract(epoch FROM expected_end - now()) / 60 AS minutes_left
  FROM open_orders
  WHERE expected_end > now()
), prices AS (
  SELECT DISTINCT ON (asset) asset, average_price, last_status_at
  FROM twap_orders
  WHERE start_date >= (now() AT TIME ZONE 'UTC')::date - 7 AND average_price IS NOT NULL AND ended_at IS NOT NULL
  ORDER BY asset, last_status_at DESC
), volumes AS (
  SELECT asset, horizon, count(*) AS order_count,
    coalesce(sum(estimate.size) FILTER (WHERE side = 'B'), 0) AS buy,
    coalesce(sum(estimate.size) FILTER (WHERE side = 'A'), 0) AS sell
  FROM running
  CROSS JOIN unnest(:horizons) AS horizon
  CROSS JOIN LATERAL (
    SELECT size_requested * least(1, least(horizon, minutes_left) / nullif(duration_minutes, 0)) AS size
  ) AS estimate
  GROUP BY asset, horizon
), assets AS (
  SELECT asset, max(order_count) AS order_count, average_price, last_status_at,
    json_agg(
      json_build_object(
        'horizon_minutes', horizon,
        'estimate_buy_size', round(buy, 8)::text,
        'estimate_sell_size', round(sell, 8)::text,
        'estimate_net_size', round(buy - sell, 8)::text,
        'estimate_net_notional', round((buy - sell) * average_price, 2)::text
      ) ORDER BY horizon
    ) AS horizons,
    max(abs(buy - sell) * coalesce(average_price, 0)) AS weight
  FROM volumes LEFT JOIN prices USING (asset)
  GROUP BY asset, average_price, last_status_at
)
SELECT
  to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') AS as_of,
  -- An event is in an object of its day or of the next one, so that the latest event is in an object of the last days.
  (SELECT to_char(max(last_event_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"') FROM etl_s3_ingest_log
    WHERE object_date >= (SELECT max(object_date) FROM etl_s3_ingest_log WHERE data_set = 'twap_status') - 8
      AND data_set = 'twap_status' AND orders_refreshed_at IS NOT NULL
  ) AS data_until,
  coalesce(
    json_agg(
      json_build_object(
        'asset', asset,
        'symbol', {current_symbol},
        'order_count', order_count,
        'estimate_price', trim_scale(to_char(average_price, '9.999999999EEEE')::numeric)::text,
        'price_at', to_char(last_status_at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
        'horizons', horizons
      ) ORDER BY weight DESC, asset
    ), '[]'
  )::text AS assets
FROM assets;

-- name: pressure_history
-- One row per hour of a range: the volume that an asset's orders would have executed within the horizon, as JSON text.
-- An order starts at most 8 days before it ends, so the index on start_date bounds the orders.
WITH orders AS MATERIALIZED (
  SELECT side, size_requested, size_executed, notional_executed, duration_minutes, ended_at,
    coalesce(started_at, first_event_at) AS began_at,
    coalesce(started_at, first_event_at) + duration_minutes * interval '1 minute' AS expected_end
  FROM twap_orders
  WHERE asset = :asset AND status IS DISTINCT FROM 'waitingForTrigger'
    AND start_date BETWEEN (CAST(:start AS timestamptz) AT TIME ZONE 'UTC')::date - 8
      AND (CAST(:end AS timestamptz) AT TIME ZONE 'UTC')::date
), prices AS (
  SELECT (ended_at AT TIME ZONE 'UTC')::date AS day,
    sum(notional_executed) / nullif(sum(size_executed), 0) AS average_price
  FROM orders
  WHERE ended_at IS NOT NULL
  GROUP BY (ended_at AT TIME ZONE 'UTC')::date
), hours_of_orders AS (
  -- An order counts in each full hour at which it was running.
  SELECT hour, side, size_requested * least(1,
      least(:horizon_minutes, extract(epoch FROM expected_end - hour) / 60) / nullif(duration_minutes, 0)) AS size
  FROM orders
  CROSS JOIN LATERAL generate_series(
    greatest(date_trunc('hour', began_at - interval '1 microsecond', 'UTC') + interval '1 hour', :start),
    least(expected_end, coalesce(ended_at, expected_end), :end) - interval '1 microsecond',
    interval '1 hour'
  ) AS hour
), volumes AS (
  SELECT hour, count(*) AS order_count,
    sum(size) FILTER (WHERE side = 'B') AS buy,
    sum(size) FILTER (WHERE side = 'A') AS sell
  FROM hours_of_orders
  GROUP BY hour
)
SELECT json_build_object(
    'hour', to_char(hour AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'order_count', coalesce(order_count, 0),
    'estimate_buy_size', round(coalesce(buy, 0), 8)::text,
    'estimate_sell_size', round(coalesce(sell, 0), 8)::text,
    'estimate_net_size', round(coalesce(buy, 0) - coalesce(sell, 0), 8)::text,
    'estimate_net_notional', round((coalesce(buy, 0) - coalesce(sell, 0)) * average_price, 2)::text
  )::text AS body
FROM generate_series(CAST(:start AS timestamptz), CAST(:end AS timestamptz) - interval '1 microsecond',
  interval '1 hour') AS hour
LEFT JOIN volumes USING (hour)
LEFT JOIN prices ON prices.day = (hour AT TIME ZONE 'UTC')::date
ORDER BY hour;
