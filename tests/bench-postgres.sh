#!/usr/bin/env bash
# The same events as `auditchain bench` sends, as JSONB rows into a PostgreSQL that is made
# for it and thrown away: default settings, one transaction a request, fsync and
# synchronous_commit on, a unix socket. Needs the Debian package `postgresql` and a release
# build; root gives PostgreSQL's part to the user postgres, since it refuses to run as root.
#   EVENTS=200000 CONNECTIONS=4 tests/bench-postgres.sh [DIR on the disk to be measured]
set -euo pipefail
cd "$(dirname "$0")/.."

events=${EVENTS:-200000}
connections=${CONNECTIONS:-4}
bin=${CARGO_TARGET_DIR:-target}/release
[ -x "$bin/auditchain" ] || { echo "build first: cargo build --release -p auditchain-cli" >&2; exit 2; }
initdb=$(ls /usr/lib/postgresql/*/bin/initdb 2>/dev/null | sort -V | tail -n 1)
initdb=${initdb:-$(command -v initdb || true)}
[ -n "$initdb" ] || { echo "no initdb: apt-get install postgresql" >&2; exit 2; }
ctl=$(dirname "$initdb")/pg_ctl

cargo build --release --manifest-path tests/bench-postgres/Cargo.toml
cluster=$(mktemp -d "${1:-${TMPDIR:-/tmp}}/bench-postgres.XXXXXX")
as=()
if [ "$(id -u)" = 0 ]; then
    chown postgres "$cluster"
    as=(runuser -u postgres --)
fi
end() {
    "${as[@]}" "$ctl" -D "$cluster/data" -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$cluster"
}
trap end EXIT

"${as[@]}" "$initdb" -D "$cluster/data" -U bench --auth=trust >/dev/null
"${as[@]}" "$ctl" -D "$cluster/data" -w -l "$cluster/log" \
    -o "-c listen_addresses='' -k '$cluster'" start >/dev/null
"$bin/auditchain" bench - tests/data/bodies/*.json.gz --events "$events" --dump "$cluster/bodies"
tests/bench-postgres/target/release/bench-postgres \
    "host=$cluster user=bench dbname=postgres" "$cluster/bodies" "$connections"
