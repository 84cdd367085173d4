#!/bin/sh
# Writes the secrets of compose.yaml to the folder secrets/, with random passwords. It never replaces a file.
# Containers read the files as several users, so the files are readable by all users, and the folder only by its owner.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
chmod 700 secrets

write() {
  [ -e "secrets/$1" ] && return
  printf '%s\n' "$2" > "secrets/$1"
  chmod 444 "secrets/$1"
  echo "created $PWD/secrets/$1"
}

random() {
  od -An -N24 -tx1 /dev/urandom | tr -d ' \n'
}

write postgres_password "$(random)"
write owner_database_url "postgresql://twap_owner:$(random)@postgres:5432/twap"
write loader_database_url "postgresql://twap_loader:$(random)@postgres:5432/twap"
write reader_database_url "postgresql://twap_reader:$(random)@postgres:5432/twap"
write dagster_postgres_url "postgresql+psycopg2://dagster:$(random)@postgres:5432/dagster?application_name=dagster"
write grafana_password "$(random)"
write aws_credentials "# Replace the two values, or delete the lines if this machine has an IAM role.
[default]
aws_access_key_id = 
aws_secret_access_key = "
