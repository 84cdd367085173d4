-- The databases and roles of an installation. Run by an administrator; it can be repeated.
--
--     psql --file=deploy/roles.sql postgresql://postgres@db.example.com/postgres
--
-- It sets no password: `\password twap_owner` in psql sends only a SCRAM verifier. An automated installation sets the
-- variables owner_password, loader_password, reader_password and dagster_password: with --set, or with \set in a file
-- that another --file option names before this one.
-- The names are variables too: database, dagster_database, owner, loader, reader, dagster.
--
-- Afterwards, as the owner: twap-pipeline migrate; twap-pipeline grant-loader twap_loader; twap-pipeline grant-reader
-- twap_reader. docs/reference/database-roles.md lists what each role may do.

\set ON_ERROR_STOP on
\if :{?database}
\else
\set database twap
\endif
\if :{?dagster_database}
\else
\set dagster_database dagster
\endif
\if :{?owner}
\else
\set owner twap_owner
\endif
\if :{?loader}
\else
\set loader twap_loader
\endif
\if :{?reader}
\else
\set reader twap_reader
\endif
\if :{?dagster}
\else
\set dagster dagster
\endif

SELECT format('CREATE ROLE %I LOGIN', name)
FROM unnest(ARRAY[:'owner', :'loader', :'reader', :'dagster']) AS name
WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = name) \gexec

\if :{?owner_password}
ALTER ROLE :"owner" PASSWORD :'owner_password';
\endif
\if :{?loader_password}
ALTER ROLE :"loader" PASSWORD :'loader_password';
\endif
\if :{?reader_password}
ALTER ROLE :"reader" PASSWORD :'reader_password';
\endif
\if :{?dagster_password}
ALTER ROLE :"dagster" PASSWORD :'dagster_password';
\endif

-- An administrator who is not superuser, as on managed servers, creates databases only for roles of which it is a member.
SELECT format('GRANT %I TO CURRENT_USER', name) FROM unnest(ARRAY[:'owner', :'dagster']) AS name
WHERE NOT pg_has_role(name, 'MEMBER') \gexec

SELECT format('CREATE DATABASE %I OWNER %I ENCODING ''UTF8'' TEMPLATE template0 LOCALE ''C''', name, owner)
FROM (VALUES (:'database', :'owner'), (:'dagster_database', :'dagster')) AS wanted (name, owner)
WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = name) \gexec

-- Nobody else connects, and only the loader creates temporary tables.
REVOKE ALL ON DATABASE :"database", :"dagster_database" FROM PUBLIC;
GRANT CONNECT ON DATABASE :"database" TO :"loader", :"reader";
GRANT TEMPORARY ON DATABASE :"database" TO :"loader";

\connect :"database"
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO :"owner";
-- Every role may write large objects and WAL messages by default; only a superuser can revoke that.
SELECT format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', string_agg(oid::regprocedure::text, ', '))
FROM pg_proc
WHERE pronamespace = 'pg_catalog'::regnamespace
  AND proname IN ('lo_creat', 'lo_create', 'lo_from_bytea', 'lo_put', 'lo_truncate', 'lo_truncate64', 'lo_unlink',
    'lowrite', 'pg_logical_emit_message')
HAVING (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) \gexec

\connect :"dagster_database"
REVOKE CREATE ON SCHEMA public FROM PUBLIC;
GRANT USAGE, CREATE ON SCHEMA public TO :"dagster";
