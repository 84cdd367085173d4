-- Derives twap_orders from twap_status. Lifecycle ranks and terminal statuses equal those of domain/status.py, by test.

-- name: refresh_orders
-- Upserts every order that has an event in one of these objects; returns the numbers of inserted and updated orders.
WITH touched AS (
  SELECT DISTINCT twap_id, wallet FROM twap_status WHERE s3_object_key = ANY(:keys)
), derived AS (
  SELECT DISTINCT ON (twap_id, wallet)
    twap_id, wallet, asset, side, size_requested, size_executed, notional_executed, status, status_error,
    ts AS last_status_at,
    coalesce(min(started_at) OVER events, min(ts) FILTER (WHERE status = 'activated') OVER events) AS started_at,
    CASE WHEN status IN ('error', 'finished', 'stopped', 'terminated') THEN ts END AS ended_at,
    duration_minutes, reduce_only, randomize,
    count(*) OVER events AS event_count,
    min(ts) OVER events AS first_event_at,
    first_value(s3_object_key) OVER (events ORDER BY ts) AS first_object_key,
    first_value(s3_object_key) OVER (events ORDER BY ts DESC) AS last_object_key
  FROM touched CROSS JOIN LATERAL (
    -- One lookup by twap_id per order, whatever the table statistics are: OFFSET 0 prevents a join in another order, and
    -- IS NOT DISTINCT FROM prevents the index on wallet.
    SELECT asset, side, size_requested, size_executed, notional_executed, status, status_error, ts, started_at,
      duration_minutes, reduce_only, randomize, s3_object_key
    FROM twap_status AS event
    WHERE event.twap_id = touched.twap_id AND event.wallet IS NOT DISTINCT FROM touched.wallet
    OFFSET 0
  ) AS event
  WINDOW events AS (PARTITION BY twap_id, wallet)
  ORDER BY twap_id, wallet,
    CASE status WHEN 'waitingForTrigger' THEN 0 WHEN 'activated' THEN 1 WHEN 'finished' THEN 3
      WHEN 'terminated' THEN 3 WHEN 'error' THEN 3 WHEN 'stopped' THEN 3 ELSE 2 END DESC,
    ts DESC
), merged AS (
  INSERT INTO twap_orders AS stored (
    twap_id, wallet, asset, side, size_requested, size_executed, notional_executed, status, status_error,
    last_status_at, started_at, ended_at, duration_minutes, reduce_only, randomize, event_count, first_event_at,
    first_object_key, last_object_key)
  SELECT
    twap_id, wallet, asset, side, size_requested, size_executed, notional_executed, status, status_error,
    last_status_at, started_at, ended_at, duration_minutes, reduce_only, randomize, event_count, first_event_at,
    first_object_key, last_object_key
  FROM derived
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
    stored.asset, stored.side, stored.size_requested, stored.size_executed, stored.notional_executed, stored.status,
    stored.status_error, stored.last_status_at, stored.started_at, stored.ended_at, stored.duration_minutes,
    stored.reduce_only, stored.randomize, stored.event_count, stored.first_event_at, stored.first_object_key,
    stored.last_object_key
  ) IS DISTINCT FROM (
    excluded.asset, excluded.side, excluded.size_requested, excluded.size_executed, excluded.notional_executed,
    excluded.status, excluded.status_error, excluded.last_status_at, excluded.started_at, excluded.ended_at,
    excluded.duration_minutes, excluded.reduce_only, excluded.randomize, excluded.event_count,
    excluded.first_event_at, excluded.first_object_key, excluded.last_object_key
  )
  RETURNING xmax = 0 AS is_new
)
SELECT count(*) FILTER (WHERE is_new) AS inserted, count(*) FILTER (WHERE NOT is_new) AS updated FROM merged;

-- name: differing_orders
-- Orders that differ from what all events give, with the difference; reads every event.
SELECT twap_id, wallet, CASE WHEN stored.event_count IS NULL THEN 'missing'
  WHEN derived.event_count IS NULL THEN 'without events' ELSE 'differs' END AS difference
FROM twap_orders AS stored FULL JOIN (
  SELECT DISTINCT ON (twap_id, wallet)
    twap_id, wallet, asset, side, size_requested, size_executed, notional_executed, status, status_error,
    ts AS last_status_at,
    coalesce(min(started_at) OVER events, min(ts) FILTER (WHERE status = 'activated') OVER events) AS started_at,
    CASE WHEN status IN ('error', 'finished', 'stopped', 'terminated') THEN ts END AS ended_at,
    duration_minutes, reduce_only, randomize,
    count(*) OVER events AS event_count,
    min(ts) OVER events AS first_event_at,
    first_value(s3_object_key) OVER (events ORDER BY ts) AS first_object_key,
    first_value(s3_object_key) OVER (events ORDER BY ts DESC) AS last_object_key
  FROM twap_status
  WINDOW events AS (PARTITION BY twap_id, wallet)
  ORDER BY twap_id, wallet,
    CASE status WHEN 'waitingForTrigger' THEN 0 WHEN 'activated' THEN 1 WHEN 'finished' THEN 3
      WHEN 'terminated' THEN 3 WHEN 'error' THEN 3 WHEN 'stopped' THEN 3 ELSE 2 END DESC,
    ts DESC
) AS derived USING (twap_id, wallet)
WHERE (
  stored.asset, stored.side, stored.size_requested, stored.size_executed, stored.notional_executed, stored.status,
  stored.status_error, stored.last_status_at, stored.started_at, stored.ended_at, stored.duration_minutes,
  stored.reduce_only, stored.randomize, stored.event_count, stored.first_event_at, stored.first_object_key,
  stored.last_object_key
) IS DISTINCT FROM (
  derived.asset, derived.side, derived.size_requested, derived.size_executed, derived.notional_executed,
  derived.status, derived.status_error, derived.last_status_at, derived.started_at, derived.ended_at,
  derived.duration_minutes, derived.reduce_only, derived.randomize, derived.event_count,
  derived.first_event_at, derived.first_object_key, derived.last_object_key
);

-- name: loaded_objects
-- Objects of one UTC date of which a version is, or was, loaded; with the time of their last attempt.
SELECT s3_object_key, ingested_at FROM etl_s3_ingest_log AS log
WHERE object_date = :day AND (error_text IS NULL
  OR EXISTS (SELECT FROM etl_s3_ingest_history AS past
    WHERE past.s3_object_key = log.s3_object_key AND past.kind <> 'failed_attempt'));

-- name: mark_refreshed
-- Marks objects as refreshed, except those loaded again since `loaded_objects`.
UPDATE etl_s3_ingest_log AS log SET orders_refreshed_at = now()
FROM unnest(CAST(:keys AS text[]), CAST(:ingested_at AS timestamptz[])) AS refreshed (s3_object_key, ingested_at)
WHERE log.s3_object_key = refreshed.s3_object_key AND log.ingested_at = refreshed.ingested_at;

-- name: dates_pending_refresh
-- UTC dates with objects that are not refreshed, each with a digest of those objects and their last attempts.
SELECT object_date, md5(string_agg(s3_object_key || ingested_at, ' ' ORDER BY s3_object_key)) AS digest
FROM etl_s3_ingest_log AS log
WHERE orders_refreshed_at IS NULL AND object_date IS NOT NULL AND (error_text IS NULL
  OR EXISTS (SELECT FROM etl_s3_ingest_history AS past
    WHERE past.s3_object_key = log.s3_object_key AND past.kind <> 'failed_attempt'))
GROUP BY object_date ORDER BY object_date;
