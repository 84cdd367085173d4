-- name: count_stored_rows
-- Number of rows in twap_status that come from the objects of one UTC date. An event in several objects counts once.
SELECT count(*) FROM twap_status
WHERE s3_object_key = ANY(ARRAY(SELECT s3_object_key FROM etl_s3_ingest_log WHERE object_date = :day));
