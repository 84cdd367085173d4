#!/bin/sh
# Runs once, when the database server of compose.yaml starts on an empty volume: creates the databases and roles of
# roles.sql, with the passwords of the URLs in the secrets. The passwords may contain letters and digits only.
set -eu

password() {
  sed -nE 's|^[^:]+://[^:]+:([A-Za-z0-9]+)@.*|\1|p' "/run/secrets/$1"
}

psql --username=postgres --dbname=postgres --no-psqlrc --file=- --file=/deploy/roles.sql <<SQL
\set owner_password '$(password owner_database_url)'
\set loader_password '$(password loader_database_url)'
\set reader_password '$(password reader_database_url)'
\set dagster_password '$(password dagster_postgres_url)'
SQL
