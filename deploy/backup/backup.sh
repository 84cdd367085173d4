#!/usr/bin/env bash
# Dumps the database of the pipeline (DATABASE_URL) and, if DAGSTER_POSTGRES_URL is set, Dagster's, into a directory.
#
#     deploy/backup/backup.sh /backup/twap
#
# Each dump has a checksum file, and appears under its name when it is complete. Needs pg_dump and pg_restore, not older
# than the server. Runs while processes load: a dump is one snapshot.
set -euo pipefail
umask 077

if [ $# -ne 1 ] || [ ! -d "$1" ]; then
  echo "usage: backup.sh DIRECTORY, which must exist" >&2
  exit 2
fi
: "${DATABASE_URL:?set DATABASE_URL to the database of the pipeline, as its owner}"
. "$(dirname "$0")/connect.sh"
time_of_dump=$(date -u +%Y%m%dT%H%M%SZ)
cd "$1"

dump() { # name, URL
  file=$1-$time_of_dump.dump
  trap 'rm -f "$file.partial"' EXIT
  connect "$2"
  pg_dump --format=custom --no-password --file="$file.partial" --dbname="$CONNECTION"
  pg_restore --list "$file.partial" >/dev/null
  sync "$file.partial"
  mv "$file.partial" "$file"
  sha256sum "$file" >"$file.sha256"
  trap - EXIT
  echo "$PWD/$file"
}

dump twap "$DATABASE_URL"
if [ -n "${DAGSTER_POSTGRES_URL:-}" ]; then
  dump dagster "$DAGSTER_POSTGRES_URL"
fi
