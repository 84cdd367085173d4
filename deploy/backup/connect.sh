# Sourced by backup.sh and restore.sh.

# connect URL: sets CONNECTION to the URL for libpq without its password, and PGPASSWORD. Arguments of a program are
# visible to all users of the host.
connect() {
  CONNECTION=postgresql://${1#*://}
  unset PGPASSWORD
  if [[ $CONNECTION =~ ^postgresql://([^:@/]*):(.*)@(.*)$ ]]; then
    printf -v PGPASSWORD '%b' "${BASH_REMATCH[2]//%/\\x}"
    export PGPASSWORD
    CONNECTION=postgresql://${BASH_REMATCH[1]}@${BASH_REMATCH[3]}
  fi
}
