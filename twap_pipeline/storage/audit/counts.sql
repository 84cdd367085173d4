-- What the database contains per object of a data set, as stored and as recorded. `compose` fills in {table} and
-- {quarantine}.

-- name: stored_objects
-- Per key in byte order: the ingest log entry, its history, and the number of stored rows per version.
-- Aggregated tables are joined by FULL JOIN: PostgreSQL has no nested loop for it, whatever the table statistics are.
SELECT s3_object_key,
  log.etag, log.last_modified, log.size_bytes, log.object_date, log.error_text IS NULL AS is_loaded, failed_attempts,
  CASE WHEN log.error_text IS NOT NULL THEN log.rows_read IS NULL
    ELSE log.etag IS NULL OR (log.failed_attempts = 0 AND log.rows_read IS NOT NULL
      AND log.rows_ingested IS NOT DISTINCT FROM log.rows_inserted + log.rows_updated + log.rows_unchanged)
  END AS is_consistent,
  coalesce(log.rows_inserted, 0) + coalesce(log.rows_updated, 0) + coalesce(log.rows_unchanged, 0) AS rows_stored,
  coalesce(log.rows_quarantined, 0) AS rows_quarantined,
  coalesce(log.rows_inserted, 0) + coalesce(past.rows_inserted, 0) AS rows_inserted,
  past.versions AS earlier_versions, past.faults, stored.versions, stored.counts, quarantined.count
FROM (SELECT * FROM etl_s3_ingest_log WHERE data_set = :data_set) AS log
FULL JOIN (
  SELECT s3_object_key, sum(rows_inserted) AS rows_inserted,
    array_agg(CASE WHEN etag IS NOT NULL THEN last_modified END) FILTER (WHERE is_version AND NOT is_impossible)
      AS versions,
    json_agg(json_build_array(history_id, reason, is_impossible) ORDER BY history_id) FILTER (WHERE reason IS NOT NULL)
      AS faults
  FROM (
    SELECT *, coalesce(reason <> 'rows_read is not the sum of its row counts', false) AS is_impossible
    FROM (
      -- Versions that the loader cannot have written. A server's clock can go back by less than an hour, for example
      -- after a failover.
      SELECT *, CASE WHEN NOT is_version THEN NULL
        WHEN ingested_at > recorded_at + interval '1 hour' THEN 'it was replaced before it was loaded'
        WHEN recorded_at > next_ingested_at + interval '1 hour'
          THEN 'the next version was loaded before it was replaced'
        WHEN rows_read
          <> rows_inserted + rows_updated + rows_unchanged + rows_superseded + rows_quarantined + rows_metadata
          THEN 'rows_read is not the sum of its row counts'
      END AS reason
      FROM (
        SELECT *, lead(ingested_at, 1, (
            SELECT CASE WHEN log.error_text IS NULL OR log.rows_read IS NOT NULL THEN log.ingested_at END
            FROM etl_s3_ingest_log AS log
            WHERE log.data_set = entry.data_set AND log.s3_object_key = entry.s3_object_key
          )) OVER (PARTITION BY s3_object_key, is_version ORDER BY history_id) AS next_ingested_at
        FROM (
          SELECT *, kind IN ('replaced_version', 'requeued') AS is_version FROM etl_s3_ingest_history
          WHERE data_set = :data_set
        ) AS entry
      ) AS entry
    ) AS entry
  ) AS entry
  GROUP BY s3_object_key
) AS past USING (s3_object_key)
FULL JOIN (
  SELECT s3_object_key, array_agg(s3_last_modified) AS versions, array_agg(count) AS counts
  FROM (SELECT s3_object_key, s3_last_modified, count(*) FROM {table} GROUP BY 1, 2) AS version
  GROUP BY s3_object_key
) AS stored USING (s3_object_key)
FULL JOIN (
  SELECT s3_object_key, count(*) FROM {quarantine} GROUP BY s3_object_key
) AS quarantined USING (s3_object_key)
ORDER BY s3_object_key COLLATE "C";
