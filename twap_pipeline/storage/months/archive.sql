-- Queries of `archive.py`. Placeholders in braces are composed with psycopg.sql; parameters are psycopg's.

-- name: lock_month
-- Waits for writers of the month and keeps them out until the transaction ends; readers continue.
LOCK TABLE {partition} IN SHARE MODE;

-- name: earlier_event
-- An event before the month, if there is one.
SELECT ts FROM twap_status WHERE ts < %(start)s LIMIT 1;

-- name: unfinished_objects
-- Failed objects of the month and of the days around it, and objects with rows of the month whose orders are pending.
SELECT s3_object_key, CASE WHEN error_text IS NULL THEN 'its orders are not refreshed' ELSE 'it failed to load' END
FROM etl_s3_ingest_log
WHERE data_set = 'twap_status' AND (
  error_text IS NOT NULL AND coalesce(object_date BETWEEN %(start)s::date - 1 AND %(end)s::date + 1, true)
  OR orders_refreshed_at IS NULL AND s3_object_key = ANY(ARRAY(SELECT DISTINCT s3_object_key FROM {partition})))
ORDER BY s3_object_key;

-- name: select_rows
-- The rows of a month.
SELECT {columns} FROM {table};

-- name: create_copy
-- Creates an empty temporary table like the month.
CREATE TEMP TABLE archived_rows_copy (LIKE twap_status) ON COMMIT DROP;

-- name: copy_rows
-- Copies rows into a table.
COPY {table} ({columns}) FROM STDIN;

-- name: count_and_checksum
-- The number of rows, and two sums of halves of each row's MD5: commutative, so the order of the rows does not matter.
SELECT count(*), lpad(to_hex(coalesce(sum(('x' || substr(row_md5, 1, 8))::bit(32)::bigint), 0)::bigint), 16, '0')
  || lpad(to_hex(coalesce(sum(('x' || substr(row_md5, 9, 8))::bit(32)::bigint), 0)::bigint), 16, '0')
FROM (SELECT md5(row({columns})::text) AS row_md5 FROM {table}) AS digests;

-- name: drop_month
-- Detaches the partition and drops it.
DROP TABLE {partition};

-- name: record
-- Records an archived month.
INSERT INTO etl_archived_months (month, rows, sha256, file_name, checksum)
VALUES (%(month)s, %(rows)s, %(sha256)s, %(file_name)s, %(checksum)s);

-- name: is_archived
-- The file name of an archived month.
SELECT file_name FROM etl_archived_months WHERE month = %(month)s;

-- name: remove_record
-- Deletes the record of the month that is in a file, and returns it.
DELETE FROM etl_archived_months WHERE sha256 = %(sha256)s RETURNING month, rows, file_name, checksum;

-- name: analyze_month
-- Collects statistics of the month.
ANALYZE {partition};
