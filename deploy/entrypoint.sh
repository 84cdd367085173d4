#!/bin/sh
# Runs the command of the container. Dagster reads its database URL only from an environment variable; this script
# reads it from the file DAGSTER_POSTGRES_URL_FILE. The package itself reads DATABASE_URL_FILE and the like.
set -eu
if [ -n "${DAGSTER_POSTGRES_URL_FILE:-}" ]; then
  if [ -n "${DAGSTER_POSTGRES_URL:-}" ]; then
    echo "error: DAGSTER_POSTGRES_URL and DAGSTER_POSTGRES_URL_FILE are both set; keep one" >&2
    exit 1
  fi
  DAGSTER_POSTGRES_URL=$(cat "$DAGSTER_POSTGRES_URL_FILE")
  export DAGSTER_POSTGRES_URL
  unset DAGSTER_POSTGRES_URL_FILE
fi
exec "$@"
