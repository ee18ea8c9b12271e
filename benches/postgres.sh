# Sourced by run.sh: a PostgreSQL server for the measurement, with the load on its core, as it would be on another machine.
# Needs Debian's package postgresql; the server refuses to run as root, and is another user's then.

# Starts it in a folder; sets postgres_url, to which a database's name is added, and postgres_pid.
start_postgres() { # folder
  local folder=$1 port=19460 programs as=()
  programs=$(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -V | tail -1)
  [ -n "$programs" ] || { echo "error: postgres is missing; on Debian: apt-get install postgresql" >&2; exit 1; }
  mkdir "$folder"
  if [ "$(id -u)" = 0 ]; then as=(runuser -u postgres --); chmod a+x "$(dirname "$folder")"; chown postgres "$folder"; fi
  "${as[@]}" "$programs/initdb" -D "$folder/data" -U freshgate --auth=trust -E UTF8 --locale=C.UTF-8 >/dev/null
  taskset -c 1 "${as[@]}" "$programs/postgres" -D "$folder/data" -p $port -c listen_addresses=127.0.0.1 -c unix_socket_directories="$folder" \
    > "$folder/postgres.log" 2>&1 &
  postgres_url=postgres://freshgate@127.0.0.1:$port
  for _ in $(seq 100); do "$programs/pg_isready" -q -h 127.0.0.1 -p $port && break; sleep 0.1; done
  postgres_pid=$(head -1 "$folder/data/postmaster.pid")
  for database in behind waiting; do "$programs/createdb" -h 127.0.0.1 -p $port -U freshgate $database; done
}
