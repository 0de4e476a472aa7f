#!/usr/bin/env bash
# Builds the fuzz targets with coverage instrumentation and runs each for some seconds
# from its seeds. Long runs: see Cargo.toml. Needs a C++ compiler (libFuzzer).
#
# usage: tests/fuzz/smoke.sh [SECONDS]
set -euo pipefail
cd "$(dirname "$0")"
seconds=${1:-10}

# What cargo-fuzz passes to rustc, without the sanitizers, which need a nightly one.
export RUSTFLAGS="--cfg fuzzing -C passes=sancov-module \
-C llvm-args=-sanitizer-coverage-level=4 -C llvm-args=-sanitizer-coverage-inline-8bit-counters \
-C llvm-args=-sanitizer-coverage-pc-table -C llvm-args=-sanitizer-coverage-trace-compares"
host=$(rustc -vV | sed -n 's/^host: //p')
cargo build --locked --release --quiet --target "$host" --target-dir ../../target/fuzz

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
for target in decode entry note settings rbac; do
    mkdir -p "$work/$target" artifacts
    echo "== $target, $seconds s"
    "../../target/fuzz/$host/release/$target" -max_total_time="$seconds" -max_len=65536 \
        -rss_limit_mb=2048 -timeout=10 -artifact_prefix=artifacts/ -print_final_stats=0 \
        "$work/$target" "seeds/$target" 2>"$work/log" || { tail -40 "$work/log" >&2; exit 1; }
    tail -1 "$work/log"
done
