#!/usr/bin/env bash
# Restores a dump of backup.sh into a new database. It changes no existing database.
#
#     deploy/backup/restore.sh /backup/twap/twap-20261127T020000Z.dump postgresql://twap_owner:…@db.example.com/twap_restored
#
# The user of the URL creates the database and owns its tables: the owner needs CREATEDB, or an administrator creates an
# empty database before. Needs createdb, psql, pg_restore and vacuumdb, not older than the server.
set -euo pipefail

if [ $# -ne 2 ]; then
  echo "usage: restore.sh DUMP URL_OF_THE_NEW_DATABASE" >&2
  exit 2
fi
. "$(dirname "$0")/connect.sh"
dump=$1
if ! (cd "$(dirname "$dump")" && sha256sum --quiet --strict --check "$(basename "$dump").sha256" >&2); then
  echo "restore.sh: $dump differs from its checksum file, or one of them is missing: use another dump" >&2
  exit 1
fi
connect "$2"
server=${CONNECTION%%\?*}
name=${server##*/}
options=${CONNECTION#"$server"}

if ! psql --no-psqlrc --quiet --no-password --dbname="$CONNECTION" --command="SELECT" >/dev/null 2>&1; then
  createdb --no-password --maintenance-db="${server%/*}/postgres$options" \
    --encoding=UTF8 --template=template0 --locale=C "$name"
fi
tables=$(psql --no-psqlrc --no-password --tuples-only --no-align --dbname="$CONNECTION" --command="SELECT count(*)
  FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')")
if [ "$tables" -ne 0 ]; then
  echo "restore.sh: the database $name has $tables tables: restore into a new database" >&2
  exit 1
fi
pg_restore --no-password --no-owner --no-acl --exit-on-error --single-transaction --dbname="$CONNECTION" "$dump"
vacuumdb --no-password --quiet --analyze-only --dbname="$CONNECTION"
echo "restored $dump into $name; next: grant-loader and grant-reader, DATABASE_URL of all processes, ingest, audit"
