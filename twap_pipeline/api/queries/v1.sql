-- name: wallet_orders
-- A page of a wallet's orders by twap_id as text, each at its latest event in the range, until :bytes_max are reached.
-- The contract's order and offset require all events of the wallet in the range.
WITH latest AS (
  SELECT DISTINCT ON (twap_id) twap_id, ts
  FROM twap_status
  WHERE wallet = :wallet AND ts >= :start AND ts <= :end AND (asset = :asset OR :asset IS NULL)
  ORDER BY twap_id, ts DESC
), page AS MATERIALIZED (
  SELECT twap_id, ts FROM latest ORDER BY twap_id LIMIT :limit OFFSET :offset
), events AS (
  SELECT page.twap_id, page.ts, event.asset, event.side, event.status, event.duration_minutes, event.size_executed,
    event.notional_executed, coalesce(event.raw_payload, '{}'::json) AS raw, history.all_rows
  FROM page
  -- Only twap_id can use an index: without statistics, PostgreSQL could choose that of another column, and search the
  -- whole wallet or range for each order of the page.
  CROSS JOIN LATERAL (
    SELECT * FROM twap_status
    WHERE twap_id = page.twap_id AND wallet IS NOT DISTINCT FROM :wallet AND ts IS NOT DISTINCT FROM page.ts LIMIT 1
  ) AS event
  CROSS JOIN LATERAL (
    WITH stored AS MATERIALIZED (
      SELECT ts, asset, raw_payload FROM twap_status
      WHERE NOT :latest_per_twap AND twap_id = page.twap_id AND wallet IS NOT DISTINCT FROM :wallet
    )
    SELECT coalesce(json_agg(raw_payload ORDER BY ts DESC), '[]') AS all_rows
    FROM stored
    WHERE raw_payload IS NOT NULL AND ts >= :start AND ts <= :end AND (asset = :asset OR :asset IS NULL)
  ) AS history
), bodies AS (
  SELECT twap_id, json_build_object(
      'twap_id', twap_id,
      'asset', asset,
      'side', side,
      'status', status,
      'duration_minutes', duration_minutes,
      'latest_ts', replace(to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z'),
      'executed', json_build_object('size', size_executed::text, 'notional', notional_executed::text),
      'raw', CASE WHEN :latest_per_twap THEN raw ELSE json_build_object('latest', raw, 'all_rows', all_rows) END
    )::text AS body
  FROM events
), sized AS (
  SELECT twap_id, body, count(*) OVER () AS page_count,
    sum(octet_length(body)) OVER (ORDER BY twap_id ROWS UNBOUNDED PRECEDING) AS bytes
  FROM bodies
)
SELECT body, page_count FROM sized WHERE bytes - octet_length(body) < :bytes_max
ORDER BY twap_id;

-- name: order_events
-- All events of an order, latest first, as JSON text, until :bytes_max are reached.
WITH bodies AS (
  SELECT ts, wallet, json_build_object(
      'wallet', wallet,
      'ts', replace(to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'), '.000000Z', 'Z'),
      'asset', asset,
      'side', side,
      'size_requested', size_requested::text,
      'size_executed', size_executed::text,
      'notional_executed', notional_executed::text,
      'status', status,
      'duration_minutes', duration_minutes,
      'raw', coalesce(raw_payload, '{}'::json)
    )::text AS body
  FROM twap_status
  WHERE twap_id = :twap_id
), sized AS (
  SELECT ts, wallet, body, count(*) OVER () AS page_count,
    sum(octet_length(body)) OVER (ORDER BY ts DESC, wallet ROWS UNBOUNDED PRECEDING) AS bytes
  FROM bodies
)
SELECT body, page_count FROM sized WHERE bytes - octet_length(body) < :bytes_max ORDER BY ts DESC, wallet;

-- name: last_ingested
-- The key of the object that was ingested last, and when.
SELECT s3_object_key, ingested_at FROM etl_s3_ingest_log
WHERE error_text IS NULL AND data_set = 'twap_status' ORDER BY ingested_at DESC LIMIT 1;
