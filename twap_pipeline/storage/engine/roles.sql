-- Privileges of roles. Placeholders are psycopg's: the role, a table that loaders write to, and kinds of privileges.

-- name: excess_privileges
-- What the role may do although it is forbidden: the privilege, the statements that revoke it, whether this user may.
WITH role AS (SELECT oid FROM pg_roles WHERE rolname = %(role)s), excess AS (
  SELECT 'temporary' AS kind, 'create temporary tables' AS privilege,
    -- TEMPORARY belongs to PUBLIC by default: roles that write to the tables keep it.
    concat(
      (
        SELECT string_agg(format('GRANT TEMPORARY ON DATABASE %%I TO %%I; ', datname, loader.rolname), '')
        FROM pg_roles AS loader
        WHERE NOT rolsuper AND rolname !~ '^pg_' AND has_table_privilege(loader.oid, %(table)s, 'INSERT')
      ),
      format('REVOKE TEMPORARY ON DATABASE %%I FROM PUBLIC, %%I', datname, %(role)s)
    ) AS revoke,
    datdba AS owner
  FROM pg_database, role WHERE datname = current_database() AND has_database_privilege(role.oid, datname, 'TEMPORARY')
  UNION ALL
  SELECT 'schema', 'create tables in the schema ' || nspname,
    format('REVOKE CREATE ON SCHEMA %%I FROM PUBLIC, %%I', nspname, %(role)s), nspowner
  FROM pg_namespace, role WHERE nspname = current_schema() AND has_schema_privilege(role.oid, nspname, 'CREATE')
  UNION ALL
  SELECT 'functions', 'call ' || string_agg(DISTINCT proname, ', ' ORDER BY proname),
    format('REVOKE EXECUTE ON FUNCTION %%s FROM PUBLIC, %%I', string_agg(pg_proc.oid::regprocedure::text, ', '), %(role)s),
    proowner
  FROM pg_proc, role
  WHERE pronamespace = 'pg_catalog'::regnamespace AND has_function_privilege(role.oid, pg_proc.oid, 'EXECUTE')
    AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lo_truncate', 'lo_truncate64', 'lo_unlink',
      'lowrite', 'pg_logical_emit_message')
  GROUP BY proowner
)
SELECT privilege, revoke, pg_has_role(owner, 'USAGE') AS is_revocable FROM excess
WHERE kind = ANY (%(kinds)s);

-- name: partitions
-- The partitions of twap_status; none, if it is not partitioned. A merge writes to a partition directly.
SELECT relname::text FROM pg_inherits JOIN pg_class ON pg_class.oid = inhrelid
WHERE inhparent = to_regclass('twap_status')
  AND relnamespace = (SELECT oid FROM pg_namespace WHERE nspname = current_schema());

-- name: has_temporary
-- Whether the role may create temporary tables.
SELECT has_database_privilege(%(role)s, current_database(), 'TEMPORARY');
