-- Queries of `merge.py`, for each data set. Placeholders in braces are composed with psycopg.sql:
-- {target} is the table of the data set, or a partition of it that stores the rows from {start} to before {end};
-- {staging} is the staging table, {key} are the columns of the primary key, {columns} all columns that a load writes;
-- {staged_rank}, {stored_rank} and {excluded_rank} are the lifecycle rank of a row's status, or 0 without a status.
-- The precedence of a row is (rank, s3_last_modified, s3_object_key). Keys compare bytewise, with any database collation.

-- name: prepare_staging
-- Nothing; afterwards the staging table is empty. The JSON column is text there, so that INSERT alone parses the JSON.
CREATE TEMP TABLE IF NOT EXISTS {staging} ON COMMIT DROP AS
SELECT {columns_as_text}, 0 AS copies FROM {target} LIMIT 0;
TRUNCATE {staging};

-- name: merge_staged
-- The numbers of staged rows inserted, updated, unchanged and superseded. xmax is not readable in a partitioned table:
-- its rows are merged into each of its partitions.
WITH classified AS MATERIALIZED (
  SELECT
    staged.*,
    stored.wallet IS NULL
      OR has_precedence AND NOT (is_same_object AND is_same_content AND is_same_last_modified) AS is_pending,
    stored.wallet IS NOT NULL AND is_same_content AS is_stored_already,
    -- The object was overwritten and contains the row again: only s3_last_modified changes.
    is_same_object AND is_same_content AS is_reaffirmed,
    -- An earlier batch of this load wrote the stored row, and counted it.
    is_same_object AND stored.inserted_at = now() AS is_from_same_load,
    stored.inserted_at AS stored_inserted_at
  FROM {staging} AS staged
  -- LATERAL with LIMIT 1 fixes the plan: one lookup by the first column of the key per staged row, with any table
  -- statistics. IS NOT DISTINCT FROM of the other columns excludes the indexes on wallet and ts: many rows share both.
  LEFT JOIN LATERAL (
    SELECT * FROM {target} AS candidate WHERE {is_same_key} LIMIT 1
  ) AS stored ON TRUE
  CROSS JOIN LATERAL (
    SELECT
      ({staged_rank}, coalesce(staged.s3_last_modified, '-infinity'), staged.s3_object_key COLLATE "C")
        >= ({stored_rank}, coalesce(stored.s3_last_modified, '-infinity'), stored.s3_object_key COLLATE "C")
        AS has_precedence,
      staged.s3_object_key = stored.s3_object_key AS is_same_object,
      staged.s3_last_modified IS NOT DISTINCT FROM stored.s3_last_modified AS is_same_last_modified,
      ({staged_content}) IS NOT DISTINCT FROM ({stored_content}) AS is_same_content
  ) AS comparison
  WHERE {start} <= staged.ts AND staged.ts < {end}
), written AS (
  INSERT INTO {target} AS stored ({columns}, inserted_at)
  SELECT {columns_as_json}, CASE WHEN is_reaffirmed THEN stored_inserted_at ELSE now() END
  FROM classified
  WHERE is_pending
  -- The order in which COPY writes a batch: two loaders lock shared rows in one order and cannot deadlock.
  ORDER BY {key_order}
  -- A concurrent transaction may have written the row since `classified` was computed: precedence is compared again.
  ON CONFLICT ({key}) DO UPDATE SET
    {assignments},
    inserted_at = CASE WHEN stored.s3_object_key = excluded.s3_object_key THEN excluded.inserted_at ELSE now() END
  WHERE ({excluded_rank}, coalesce(excluded.s3_last_modified, '-infinity'), excluded.s3_object_key COLLATE "C")
    >= ({stored_rank}, coalesce(stored.s3_last_modified, '-infinity'), stored.s3_object_key COLLATE "C")
  RETURNING {key}, xmax = 0 AS is_inserted
), outcomes AS (
  SELECT
    copies,
    CASE
      WHEN NOT is_pending AND is_stored_already THEN 'unchanged'
      WHEN is_inserted IS NULL THEN 'superseded'
      WHEN is_inserted THEN 'inserted'
      WHEN is_from_same_load THEN 'superseded'
      WHEN is_reaffirmed THEN 'unchanged'
      ELSE 'updated'
    END AS outcome,
    is_inserted IS NOT NULL OR NOT is_pending AND is_stored_already AS is_stored
  -- Every written row is classified. FULL JOIN fixes the plan: PostgreSQL has no nested loop for it.
  FROM classified FULL JOIN written USING ({key})
)
SELECT
  count(*) FILTER (WHERE outcome = 'inserted') AS inserted,
  count(*) FILTER (WHERE outcome = 'updated') AS updated,
  count(*) FILTER (WHERE outcome = 'unchanged') + coalesce(sum(copies) FILTER (WHERE is_stored), 0) AS unchanged,
  count(*) FILTER (WHERE outcome = 'superseded') + coalesce(sum(copies) FILTER (WHERE NOT is_stored), 0) AS superseded
FROM outcomes;
