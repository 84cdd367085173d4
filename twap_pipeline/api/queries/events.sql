-- name: order_events
-- One row per event of an order, oldest first: body (JSON text).
SELECT json_build_object(
    'wallet', wallet,
    'ts', to_char(ts AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    'asset', asset,
    'side', side,
    'size_requested', size_requested::text,
    'size_executed', size_executed::text,
    'notional_executed', notional_executed::text,
    'status', status,
    'duration_minutes', duration_minutes,
    'raw', raw_payload
  )::text AS body
FROM twap_status
WHERE twap_id = :twap_id
ORDER BY ts, wallet;
