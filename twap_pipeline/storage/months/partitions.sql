-- Queries of `partitions.py`. Parameters are psycopg's; placeholders in braces are composed with psycopg.sql.

-- name: table
-- One row: whether the table is partitioned, its schema and owner, its partitions, the month of now (server's clock),
-- and the newest archived month.
SELECT parent.relkind = 'p' AS is_partitioned, parent.relnamespace::regnamespace::text AS schema,
  pg_get_userbyid(parent.relowner) AS owner,
  ARRAY(
    SELECT child.relname::text FROM pg_inherits JOIN pg_class AS child ON child.oid = inhrelid
    WHERE inhparent = parent.oid
  ) AS partitions,
  date_trunc('month', now(), 'UTC')::date AS current_month,
  (SELECT max(month) FROM etl_archived_months) AS archived_month
FROM pg_class AS parent WHERE parent.oid = %(table)s::regclass;

-- name: lock_partitions
-- Serializes the sessions that create or attach partitions; reads and writes of rows continue.
LOCK TABLE ONLY {table} IN SHARE UPDATE EXCLUSIVE MODE;

-- name: create_month
-- Creates the empty table of a month. ATTACH PARTITION builds its indexes, and needs a weaker lock than PARTITION OF.
CREATE TABLE {partition} (LIKE {table} INCLUDING ALL EXCLUDING INDEXES);
ALTER TABLE {partition} OWNER TO {owner};

-- name: attach_month
-- Attaches the table of a month.
ALTER TABLE {table} ATTACH PARTITION {partition} FOR VALUES FROM ({start}) TO ({end});

-- name: grants
-- The statements that give a table the privileges of another one.
SELECT format('GRANT %%s ON %%s.%%I TO %%s%%s', privilege_type, relnamespace::regnamespace, %(name)s::text,
  CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END,
  CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END)
FROM pg_class CROSS JOIN aclexplode(relacl)
WHERE pg_class.oid = %(table)s::regclass AND grantee <> relowner ORDER BY 1;
