-- Derives twap_orders from twap_status. The placeholders in braces are ranks and statuses, see `status_sql`.
-- A refresh and an audit fill selected_orders; derive_orders is the only definition of an order's columns.

-- name: create_selected_orders
-- Creates the empty temporary table of orders to derive from all of their events; dropped with the transaction's end.
DROP TABLE IF EXISTS selected_orders, derived_orders;
CREATE TEMP TABLE selected_orders (twap_id TEXT NOT NULL, wallet TEXT NOT NULL) ON COMMIT DROP;

-- name: force_index_lookups
-- Makes this transaction find rows by indexes, in nested loops, even if the statistics describe small tables.
SELECT set_config('enable_seqscan', 'off', true), set_config('enable_hashjoin', 'off', true),
  set_config('enable_mergejoin', 'off', true);

-- name: select_orders_of_objects
-- Selects every order that has an event in one of these objects.
-- OFFSET prevents a scan of all events by another index, in the order of DISTINCT.
INSERT INTO selected_orders
SELECT DISTINCT twap_id, wallet
FROM (SELECT twap_id, wallet FROM twap_status WHERE s3_object_key = ANY(:keys) OFFSET 0) AS event;

-- name: select_stored_orders_of_objects
-- Selects the orders that have an event in one of these objects and a row in twap_orders.
-- OFFSET as above. LATERAL with LIMIT 1 is one lookup by twap_id per event; IS NOT DISTINCT FROM prevents the index on
-- wallet.
INSERT INTO selected_orders
SELECT DISTINCT event.twap_id, event.wallet
FROM (SELECT twap_id, wallet FROM twap_status WHERE s3_object_key = ANY(:keys) OFFSET 0) AS event CROSS JOIN LATERAL (
  SELECT FROM twap_orders AS stored
  WHERE stored.twap_id = event.twap_id AND stored.wallet IS NOT DISTINCT FROM event.wallet LIMIT 1
) AS stored;

-- name: derive_orders
-- Creates derived_orders: the orders with an event in these objects, or in any if keys is NULL, from their events in
-- these objects; and the selected orders, from all of their events.
CREATE TEMP TABLE derived_orders ON COMMIT DROP AS
WITH events AS (
  (
    -- OFFSET prevents a scan of another index in the order of the sort.
    SELECT twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status, status_error,
      started_at, duration_minutes, reduce_only, randomize, s3_object_key
    FROM twap_status
    WHERE CAST(:keys AS text[]) IS NULL OR s3_object_key = ANY(:keys)
    OFFSET 0
  )
  UNION ALL
  SELECT event.*
  FROM selected_orders AS selected CROSS JOIN LATERAL (
    -- One lookup by twap_id per order: OFFSET prevents a join in another order, and IS NOT DISTINCT FROM prevents the
    -- index on wallet.
    SELECT twap_id, wallet, ts, asset, side, size_requested, size_executed, notional_executed, status, status_error,
      started_at, duration_minutes, reduce_only, randomize, s3_object_key
    FROM twap_status
    WHERE twap_id = selected.twap_id AND wallet IS NOT DISTINCT FROM selected.wallet AND s3_object_key <> ALL(:keys)
    OFFSET 0
  ) AS event
)
-- The event of the highest lifecycle rank, the latest of several, and totals of the history.
SELECT DISTINCT ON (twap_id, wallet)
  twap_id, wallet, asset, side, size_requested, size_executed, notional_executed, status, status_error,
  ts AS last_status_at,
  coalesce(min(started_at) OVER history, min(ts) FILTER (WHERE status = 'activated') OVER history) AS started_at,
  CASE WHEN status IN ({terminal_statuses}) THEN ts END AS ended_at,
  duration_minutes, reduce_only, randomize,
  count(*) OVER history::integer AS event_count,
  first_value(ts) OVER history AS first_event_at,
  first_value(s3_object_key) OVER history AS first_object_key,
  last_value(s3_object_key) OVER history AS last_object_key
FROM events
WINDOW history AS (
  PARTITION BY twap_id, wallet ORDER BY ts ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING)
ORDER BY twap_id, wallet,
  {rank} DESC, ts DESC;

-- name: write_orders
-- Inserts and updates the derived orders that differ from the stored ones; returns the numbers of both.
WITH merged AS (
  INSERT INTO twap_orders AS stored (
    twap_id, wallet, asset, side, size_requested, size_executed, notional_executed, status, status_error,
    last_status_at, started_at, ended_at, duration_minutes, reduce_only, randomize, event_count, first_event_at,
    first_object_key, last_object_key)
  SELECT
    twap_id, wallet, asset, side, size_requested, size_executed, notional_executed, status, status_error,
    last_status_at, started_at, ended_at, duration_minutes, reduce_only, randomize, event_count, first_event_at,
    first_object_key, last_object_key
  FROM derived_orders
  ON CONFLICT (twap_id, wallet) DO UPDATE SET
    asset = excluded.asset,
    side = excluded.side,
    size_requested = excluded.size_requested,
    size_executed = excluded.size_executed,
    notional_executed = excluded.notional_executed,
    status = excluded.status,
    status_error = excluded.status_error,
    last_status_at = excluded.last_status_at,
    started_at = excluded.started_at,
    ended_at = excluded.ended_at,
    duration_minutes = excluded.duration_minutes,
    reduce_only = excluded.reduce_only,
    randomize = excluded.randomize,
    event_count = excluded.event_count,
    first_event_at = excluded.first_event_at,
    first_object_key = excluded.first_object_key,
    last_object_key = excluded.last_object_key,
    refreshed_at = now()
  WHERE (
    stored.asset, stored.side, stored.size_requested::text, stored.size_executed::text, stored.notional_executed::text,
    stored.status, stored.status_error, stored.last_status_at, stored.started_at, stored.ended_at,
    stored.duration_minutes, stored.reduce_only, stored.randomize, stored.event_count, stored.first_event_at,
    stored.first_object_key, stored.last_object_key
  ) IS DISTINCT FROM (
    excluded.asset, excluded.side, excluded.size_requested::text, excluded.size_executed::text,
    excluded.notional_executed::text, excluded.status, excluded.status_error, excluded.last_status_at,
    excluded.started_at, excluded.ended_at, excluded.duration_minutes, excluded.reduce_only, excluded.randomize,
    excluded.event_count, excluded.first_event_at, excluded.first_object_key, excluded.last_object_key
  )
  RETURNING xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new) AS inserted, count(*) FILTER (WHERE NOT is_new) AS updated FROM merged;

-- name: compare_derived_orders
-- Creates differing_orders: the derived orders that differ from the stored ones.
DROP TABLE IF EXISTS differing_orders;
CREATE TEMP TABLE differing_orders ON COMMIT DROP AS
SELECT derived.twap_id, derived.wallet,
  CASE WHEN stored.event_count IS NULL THEN 'missing' ELSE 'differs' END AS difference
FROM derived_orders AS derived LEFT JOIN LATERAL (
  -- LIMIT and IS NOT DISTINCT FROM fix the plan: one lookup by twap_id per order, whatever the table statistics are.
  SELECT * FROM twap_orders AS candidate
  WHERE candidate.twap_id = derived.twap_id AND candidate.wallet IS NOT DISTINCT FROM derived.wallet LIMIT 1
) AS stored ON TRUE
WHERE (
  stored.asset, stored.side, stored.size_requested::text, stored.size_executed::text, stored.notional_executed::text,
  stored.status, stored.status_error, stored.last_status_at, stored.started_at, stored.ended_at,
  stored.duration_minutes, stored.reduce_only, stored.randomize, stored.event_count, stored.first_event_at,
  stored.first_object_key, stored.last_object_key
) IS DISTINCT FROM (
  derived.asset, derived.side, derived.size_requested::text, derived.size_executed::text,
  derived.notional_executed::text, derived.status, derived.status_error, derived.last_status_at,
  derived.started_at, derived.ended_at, derived.duration_minutes, derived.reduce_only, derived.randomize,
  derived.event_count, derived.first_event_at, derived.first_object_key, derived.last_object_key
);

-- name: add_orders_without_events
-- Adds the stored orders that are not derived to differing_orders, if every order was derived. PostgreSQL has no nested
-- loop for EXCEPT, whatever the table statistics are.
INSERT INTO differing_orders SELECT twap_id, wallet, 'without events' FROM (
  SELECT twap_id, wallet FROM twap_orders EXCEPT SELECT twap_id, wallet FROM derived_orders
) AS without_events;
ANALYZE differing_orders;

-- name: delete_differences_pending_refresh
-- Deletes from differing_orders the orders with an event in an object that no refresh has included yet.
DELETE FROM differing_orders AS differing WHERE (
  -- An aggregate and a scalar subquery fix the plan: lookups by twap_id and by key.
  SELECT bool_or((SELECT orders_refreshed_at IS NULL FROM etl_s3_ingest_log AS log
    WHERE log.data_set = 'twap_status' AND log.s3_object_key = event.s3_object_key))
  FROM twap_status AS event
  WHERE event.twap_id = differing.twap_id AND event.wallet IS NOT DISTINCT FROM differing.wallet
);

-- name: loaded_objects
-- Objects of one UTC date of which a version is, or was, loaded, with the time of their last attempt: those that no
-- refresh included, or all.
SELECT s3_object_key, ingested_at FROM etl_s3_ingest_log AS log
WHERE data_set = 'twap_status' AND object_date = :day AND (:recompute OR orders_refreshed_at IS NULL)
  AND (error_text IS NULL
  OR EXISTS (SELECT FROM etl_s3_ingest_history AS past
    WHERE past.data_set = log.data_set AND past.s3_object_key = log.s3_object_key AND past.kind <> 'failed_attempt'));

-- name: mark_refreshed
-- Marks objects as refreshed, except those loaded again since `loaded_objects`.
UPDATE etl_s3_ingest_log AS log SET orders_refreshed_at = now()
FROM unnest(CAST(:keys AS text[]), CAST(:ingested_at AS timestamptz[])) AS refreshed (s3_object_key, ingested_at)
WHERE log.data_set = 'twap_status' AND log.s3_object_key = refreshed.s3_object_key
  AND log.ingested_at = refreshed.ingested_at;

-- name: dates_pending_refresh
-- UTC dates with objects that are not refreshed, each with a digest of those objects and their last attempts.
SELECT object_date, md5(string_agg(s3_object_key || ingested_at, ' ' ORDER BY s3_object_key)) AS digest
FROM etl_s3_ingest_log AS log
WHERE data_set = 'twap_status' AND orders_refreshed_at IS NULL AND object_date IS NOT NULL AND (error_text IS NULL
  OR EXISTS (SELECT FROM etl_s3_ingest_history AS past
    WHERE past.data_set = log.data_set AND past.s3_object_key = log.s3_object_key AND past.kind <> 'failed_attempt'))
GROUP BY object_date ORDER BY object_date;
