-- Queries of `conversion.py`. Parameters are psycopg's; placeholders in braces are composed with psycopg.sql.
-- {table} is twap_status, {new} the table that replaces it.

-- name: lock_writers
-- Waits for writers and keeps them out until the transaction ends; readers continue.
LOCK TABLE {table} IN EXCLUSIVE MODE;

-- name: loading_objects
-- The number of objects that a process is loading, and one of them.
SELECT count(*), min(s3_object_key) FROM etl_s3_ingest_attempts WHERE data_set = 'twap_status';

-- name: dependent_objects
-- Triggers, policies, views, publications and privileges of columns that the new table would not have.
SELECT 'the trigger ' || tgname FROM pg_trigger WHERE tgrelid = %(table)s::regclass AND NOT tgisinternal
UNION ALL
SELECT 'the policy ' || polname FROM pg_policy WHERE polrelid = %(table)s::regclass
UNION ALL
SELECT DISTINCT 'the view or rule ' || ev_class::regclass::text
FROM pg_depend JOIN pg_rewrite ON pg_rewrite.oid = objid AND classid = 'pg_rewrite'::regclass
WHERE refclassid = 'pg_class'::regclass AND refobjid = %(table)s::regclass
UNION ALL
SELECT 'the publication ' || pubname
FROM pg_publication_rel JOIN pg_publication ON pg_publication.oid = prpubid WHERE prrelid = %(table)s::regclass
UNION ALL
SELECT 'the privileges of the column ' || attname FROM pg_attribute
WHERE attrelid = %(table)s::regclass AND attacl IS NOT NULL;

-- name: size
-- Bytes of the table with its indexes, and its number of rows: estimated, or counted if the table has no statistics.
SELECT coalesce(sum(pg_total_relation_size(oid)), 0)::bigint,
  CASE WHEN sum(reltuples) > 0 THEN sum(greatest(reltuples, 0))::bigint ELSE (SELECT count(*) FROM twap_status) END
FROM pg_class
WHERE relkind = 'r' AND (
  oid = %(table)s::regclass OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = %(table)s::regclass)
);

-- name: heaps
-- The tables that store the rows, as SQL identifiers, and their number of blocks.
SELECT oid::regclass::text, pg_relation_size(oid) / current_setting('block_size')::bigint FROM pg_class
WHERE relkind = 'r' AND (
  oid = %(table)s::regclass OR oid IN (SELECT inhrelid FROM pg_inherits WHERE inhparent = %(table)s::regclass)
)
ORDER BY oid::regclass::text;

-- name: rows_by_month
-- The UTC months of the stored events, and their rows.
SELECT date_trunc('month', ts, 'UTC')::date AS month, count(*) AS rows FROM {table} GROUP BY month ORDER BY month;

-- name: create_partitioned
-- Creates the new table, partitioned, without partitions and indexes.
CREATE TABLE {new} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES) PARTITION BY RANGE (ts);

-- name: create_plain
-- Creates the new table, not partitioned, without indexes.
CREATE TABLE {new} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES);

-- name: set_owner
-- Gives the new table the owner of the old one.
ALTER TABLE {new} OWNER TO {owner};

-- name: copy_blocks
-- Copies the rows of a range of blocks; PostgreSQL reads only these blocks (TID range scan).
INSERT INTO {new} ({columns}) SELECT {columns} FROM {heap} WHERE ctid >= {start} AND ctid < {end};

-- name: add_primary_key
-- Builds the primary key of the new table, under a name of its own.
ALTER TABLE {new} ADD CONSTRAINT {name} PRIMARY KEY ({columns});

-- name: analyze
-- Collects statistics of the new table and its partitions.
ANALYZE {new};

-- name: lock_readers
-- Waits for all other sessions that use the table.
LOCK TABLE {table} IN ACCESS EXCLUSIVE MODE;

-- name: replace
-- Replaces the table.
DROP TABLE {table};
ALTER TABLE {new} RENAME TO {table};

-- name: rename_index
-- Gives an index the name that it had in the old table.
ALTER INDEX {new} RENAME TO {table};
