-- Parameters of sessions and transactions. Placeholders are psycopg's.

-- name: set_parameters
-- The server process; sets what correct data needs, and lets the server end sessions of an unreachable host in 30 s.
SELECT pg_backend_pid(), set_config('TimeZone', 'UTC', false), set_config('DateStyle', 'ISO, MDY', false),
  set_config('standard_conforming_strings', 'on', false), set_config('tcp_keepalives_idle', '15', false),
  set_config('tcp_keepalives_interval', '5', false), set_config('tcp_keepalives_count', '3', false);

-- name: mark_session
-- Marks the session.
SELECT set_config('twap.session', %(marker)s, false);

-- name: session_marker
-- The mark; an error if there is none. SHOW takes no snapshot: a statement may set the isolation level afterwards.
SHOW twap.session;

-- name: limit_session
-- Makes the session read-only, and sets the timeouts that neither the URL nor PGOPTIONS sets.
SELECT set_config(name, value, false) FROM (
  VALUES ('default_transaction_read_only', 'on'), ('statement_timeout', %(statement_timeout_ms)s::text),
    ('idle_in_transaction_session_timeout', %(idle_timeout_ms)s::text)
) AS limits (name, value) JOIN pg_settings USING (name)
WHERE source <> 'client' OR name = 'default_transaction_read_only';

-- name: limit_transaction
-- The same for the current transaction.
SELECT set_config('transaction_read_only', 'on', true),
  set_config('statement_timeout', %(statement_timeout_ms)s::text, true),
  set_config('idle_in_transaction_session_timeout', %(idle_timeout_ms)s::text, true);
