#!/usr/bin/env bash
# MLflow's server on PostgreSQL with proxied artifacts, all of it in .sa-mlops/ and on 127.0.0.1 alone.
#
#     scripts/server.sh [option of mlflow server ...]
#
# SA_SERVER_DIR (.sa-mlops), SA_SERVER_PORT (5000) and SA_PG_PORT (5433) say where. Ctrl-C ends both; data stays.
set -euo pipefail
cd "$(dirname "$0")/.."

dir=${SA_SERVER_DIR:-$PWD/.sa-mlops}
port=${SA_SERVER_PORT:-5000}
pg_port=${SA_PG_PORT:-5433}
cluster=$dir/pg

fail() {
    echo "server: $*" >&2
    exit 1
}

bin=$(find /usr/lib/postgresql -mindepth 2 -maxdepth 2 -name bin 2>/dev/null | sort -V | tail -n 1)
if [[ -z $bin ]]; then
    initdb=$(command -v initdb) || fail "PostgreSQL is not installed; on Debian: apt-get install postgresql"
    bin=$(dirname "$initdb")
fi
python -c 'import psycopg' 2>/dev/null ||
    fail "Python cannot reach PostgreSQL; install the extra: pip install -e '.[postgres]'"

mkdir -p "$dir/artifacts"
dir=$(cd "$dir" && pwd)
cluster=$dir/pg

# PostgreSQL refuses to run as root; then Debian's own user runs it.
as_owner=()
if ((EUID == 0)); then
    id postgres >/dev/null 2>&1 || fail "root cannot run PostgreSQL, and there is no user postgres to run it"
    as_owner=(setpriv --reuid=postgres --regid=postgres --clear-groups)
    "${as_owner[@]}" test -x "$dir" || fail "the user postgres cannot enter $dir; name another folder in SA_SERVER_DIR"
    install -d -o postgres -g postgres -m 700 "$cluster"
else
    install -d -m 700 "$cluster"
fi

# The password stays in files that only their owners can read: it is in no command line and in no log.
export PGPASSFILE=$dir/pgpass
if [[ ! -s $PGPASSFILE ]]; then
    password=$(python -c 'import secrets; print(secrets.token_hex(24))')
    (umask 077 && printf '127.0.0.1:*:*:sa:%s\n' "$password" >"$PGPASSFILE")
fi
if [[ ! -s $cluster/PG_VERSION ]]; then
    once=$(umask 077 && mktemp "$dir/initdb.XXXXXX")
    trap 'rm -f "$once"' EXIT
    cut -d: -f5 "$PGPASSFILE" >"$once"
    ((EUID)) || chown postgres "$once"
    "${as_owner[@]}" "$bin/initdb" --pgdata="$cluster" --username=sa --auth=scram-sha-256 --encoding=UTF8 \
        --locale=C --pwfile="$once" >/dev/null || fail "initdb failed in $cluster"
    rm -f "$once"
fi

stop() {
    "${as_owner[@]}" "$bin/pg_ctl" stop --pgdata="$cluster" --mode=fast --silent || true
}
"${as_owner[@]}" "$bin/pg_ctl" status --pgdata="$cluster" >/dev/null 2>&1 && fail "it is running already on $cluster"
"${as_owner[@]}" "$bin/pg_ctl" start --pgdata="$cluster" --log="$cluster/log" --silent --wait --timeout=120 \
    --options="-c listen_addresses=127.0.0.1 -c port=$pg_port -c unix_socket_directories='' -c max_connections=200" ||
    fail "PostgreSQL does not start; see $cluster/log"
trap stop EXIT
export PGHOST=127.0.0.1 PGPORT=$pg_port PGUSER=sa
if [[ $("$bin/psql" --dbname=postgres --no-psqlrc -tAc "SELECT 1 FROM pg_database WHERE datname = 'mlflow'") != 1 ]]; then
    "$bin/createdb" mlflow
fi

echo "server: http://127.0.0.1:$port; elsewhere: export MLFLOW_TRACKING_URI=http://127.0.0.1:$port" >&2
# Nothing here uses MLflow's jobs, whose runner and consumers take eight processes of 240 MB each.
export MLFLOW_DISABLE_TELEMETRY=true DO_NOT_TRACK=true MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false
python -m mlflow server --host 127.0.0.1 --port "$port" \
    --backend-store-uri "postgresql+psycopg://sa@127.0.0.1:$pg_port/mlflow" \
    --artifacts-destination "$dir/artifacts" --default-artifact-root mlflow-artifacts:/ --serve-artifacts "$@" &
child=$!
trap 'kill -TERM $child 2>/dev/null' INT TERM
# A signal ends the first wait; the second is for the server's own goodbye.
wait $child || true
wait $child 2>/dev/null || true
