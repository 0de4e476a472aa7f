#!/bin/sh
# What a hostile policy beside the default ones costs: events a second of the release
# service with it, as a ratio of those without. A ratio of 0.8 or more is wanted.
#
# usage: tests/bench-hostile.sh HOSTILE.wasm [BEHAVIOUR...]
# HOSTILE.wasm is the component of tests/hostile-guest (below target/, after
# cargo test --test hostile). Needs target/release/auditchaind and auditchain.
set -eu
module=$(realpath "$1")
shift
[ $# -gt 0 ] || set -- spin recurse grow fill trap flood huge-reason log-flood wrong-event
files=$(ls "$(dirname "$0")"/data/bodies/[0-9]*)
bin=$(dirname "$0")/../target/release
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
head='apiVersion: auditchain.io/v1alpha1'

# run NAME: the line of auditchain bench for this configuration
run() {
    "$bin/auditchaind" --data "$work/$1" --listen 127.0.0.1:0 --config "$work/$1.yaml" \
        >"$work/out" 2>"$work/$1.log" &
    pid=$!
    until grep -q '^auditchaind: serving' "$work/out"; do sleep 0.1; done
    url=$(sed -n 's/^auditchaind: serving //p' "$work/out")
    "$bin/auditchain" bench "$url" $files --output json >"$work/$1.json" || cat "$work/$1.log" >&2
    kill "$pid"
    wait "$pid" || true
    # The first number of that name.
    sed -n 's/.*"eventsPerSecond": *\([0-9.]*\).*/\1/p' "$work/$1.json" | head -n 1
}

for name in signature ordering rbac; do
    printf '%s\nkind: VerificationPolicy\nmetadata: {name: %s}\nspec: {module: "builtin:%s", mode: enforce}\n' \
        "$head" "$name" "$name" >"$work/p-$name.yaml"
done
all=p-signature.yaml,p-ordering.yaml,p-rbac.yaml
printf '%s\nkind: ServiceConfig\npolicies: [%s]\n' "$head" "$all" >"$work/without.yaml"
without=$(run without)
echo "without: $without events/s"
for behaviour; do
    printf '%s\nkind: VerificationPolicy\nmetadata: {name: hostile}\nspec:\n  module: %s\n  mode: observe\n  settings: {do: %s}\n' \
        "$head" "$module" "$behaviour" >"$work/p-hostile.yaml"
    printf '%s\nkind: ServiceConfig\npolicies: [%s,p-hostile.yaml]\n' "$head" "$all" \
        >"$work/$behaviour.yaml"
    with=$(run "$behaviour")
    echo "$behaviour: $with events/s, ratio $(echo "$with $without" | awk '{ printf "%.2f", $1 / $2 }')"
done
