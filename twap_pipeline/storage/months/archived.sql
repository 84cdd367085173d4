-- Queries of `archived.py`.

-- name: archived_rows
-- The number of archived events.
SELECT coalesce(sum(rows), 0)::bigint FROM etl_archived_months;

-- name: archived_until
-- The newest archived month and the time at which it ends; NULL if no month is archived.
SELECT max(month) AS month, (max(month) + interval '1 month') AT TIME ZONE 'UTC' AS until FROM etl_archived_months;

-- name: archived_orders_of_pending_objects
-- The number of orders with archived events that have an event in an object whose orders are not refreshed, and one.
SELECT count(*) AS orders, min(twap_id) AS example FROM (
  SELECT DISTINCT twap_id, wallet FROM twap_status WHERE s3_object_key = ANY(ARRAY(
    SELECT s3_object_key FROM etl_s3_ingest_log
    WHERE data_set = 'twap_status' AND s3_object_key = ANY(:keys) AND orders_refreshed_at IS NULL
  ))
) AS selected
WHERE (
  -- One lookup by twap_id per order, whatever the table statistics are: IS NOT DISTINCT FROM prevents other indexes.
  SELECT first_event_at FROM twap_orders AS stored
  WHERE stored.twap_id = selected.twap_id AND stored.wallet IS NOT DISTINCT FROM selected.wallet LIMIT 1
) < :until;

-- name: deselect_archived_orders
-- Deletes the orders with archived events from selected_orders: their stored values stay.
DELETE FROM selected_orders AS selected WHERE (
  SELECT first_event_at FROM twap_orders AS stored
  WHERE stored.twap_id = selected.twap_id AND stored.wallet IS NOT DISTINCT FROM selected.wallet LIMIT 1
) < :until;

-- name: ignore_archived_orders
-- Deletes the orders with archived events from differing_orders: they cannot be compared.
DELETE FROM differing_orders AS differing WHERE (
  SELECT first_event_at FROM twap_orders AS stored
  WHERE stored.twap_id = differing.twap_id AND stored.wallet IS NOT DISTINCT FROM differing.wallet LIMIT 1
) < (SELECT (max(month) + interval '1 month') AT TIME ZONE 'UTC' FROM etl_archived_months);
