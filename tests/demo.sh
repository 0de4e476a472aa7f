#!/usr/bin/env bash
# Starts the service on a free port, feeds it events recorded from a real
# kube-apiserver, verifies the log over HTTP and again offline from its directory.
set -euo pipefail
cd "$(dirname "$0")/.."

bin=${CARGO_TARGET_DIR:-target}/release
auditchaind=${AUDITCHAIND:-$bin/auditchaind}
auditchain=${AUDITCHAIN:-$bin/auditchain}
data=demo-data
rm -rf "$data"
mkdir "$data"
gunzip -c tests/data/rbac-dump.json.gz >"$data/rbac.json"

echo "== auditchaind starts; data in ./$data"
"$auditchaind" --data "$data/log" --listen 127.0.0.1:0 --origin demo.example/cluster \
    --rbac-snapshot "$data/rbac.json" >"$data/out" 2>"$data/auditchaind.log" &
service=$!
trap 'kill "$service" 2>/dev/null || true' EXIT
url=
for _ in $(seq 200); do
    url=$(sed -n 's/^auditchaind: serving //p' "$data/out")
    [ -n "$url" ] && break
    kill -0 "$service" 2>/dev/null || { cat "$data/auditchaind.log" >&2; exit 1; }
    sleep 0.1
done
[ -n "$url" ] || { echo "demo: the service did not come up, see $data/auditchaind.log" >&2; exit 1; }
keys=()
while read -r key; do keys+=(--key "$key"); done < <(sed -n 's/^auditchaind: key //p' "$data/out")

echo "== 18 webhook requests of a kube-apiserver, as it sent them, and 21 hostile ones"
"$auditchain" ingest "$url" --source demo tests/data/bodies/*
"$auditchain" ingest "$url" --source hostile tests/data/edge/0*.json*

echo "== the same again: a retry adds nothing"
"$auditchain" ingest "$url" --source demo tests/data/bodies/*

echo "== verify over HTTP, trusting only the log's public keys"
"$auditchain" verify "$url" "${keys[@]}"

kill -TERM "$service"
wait "$service"
trap - EXIT

echo "== verify offline, from the directory alone"
"$auditchain" verify "$data/log" "${keys[@]}"

cat <<END

The log is in ./$data/log. To look further:
  $bin/auditchaind --data $data/log --rbac-snapshot $data/rbac.json &
  curl -s http://127.0.0.1:8443/checkpoint
  curl -s http://127.0.0.1:8443/api/v1/status
  $bin/auditchain get http://127.0.0.1:8443 100 --body
  $bin/auditchain prove http://127.0.0.1:8443 --index 100 -o event-100.tlog-proof
  grep auditchain::alert $data/auditchaind.log
END
