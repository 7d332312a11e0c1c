#!/usr/bin/env bash
# Lets the fuzz targets search: run.sh [SECONDS [TARGET...]], by default 60 seconds for each target.
#
# What they find goes to target/fuzz/TARGET: the inputs that reached new code, and those that made it panic
# (crash-*, timeout-*). A crash becomes a file of fuzz/corpus/TARGET together with its repair; `make test` replays these.
#
# libFuzzer's instrumentation is a flag of the compiler, so the stable toolchain does and no cargo-fuzz is needed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

seconds=60
case ${1:-} in [0-9]*) seconds=$1; shift ;; esac
targets=("$@")
[ $# -gt 0 ] || mapfile -t targets < <(sed -n 's#^path = "targets/\(.*\)\.rs"$#\1#p' fuzz/Cargo.toml)

triple=$(rustc -vV | sed -n 's/^host: //p')
flags='--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1'
for option in level=4 inline-8bit-counters pc-table trace-compares stack-depth; do
  flags+=" -Cllvm-args=-sanitizer-coverage-$option"
done
# The versions are the product's. With --target, build scripts and macros are left alone.
cp Cargo.lock fuzz/Cargo.lock
env -u CARGO_BUILD_BUILD_DIR RUSTC_BOOTSTRAP=1 RUSTFLAGS="$flags" CARGO_TARGET_DIR="$PWD/target/fuzz/build" \
  cargo build --quiet --release --manifest-path fuzz/Cargo.toml --target "$triple"

failed=()
for target in "${targets[@]}"; do
  binary=target/fuzz/build/$triple/release/$target
  found=target/fuzz/$target
  mkdir -p "$found/inputs" "fuzz/corpus/$target"
  log=$found/log
  options=(-max_total_time="$seconds" -timeout=5 -rss_limit_mb=1024 -print_final_stats=1 -artifact_prefix="$found/")
  [ ! -f "fuzz/$target.dict" ] || options+=(-dict="fuzz/$target.dict")
  if "$binary" "${options[@]}" "$found/inputs" "fuzz/corpus/$target" > "$log" 2>&1; then
    echo "$target: $(sed -n 's/^stat::number_of_executed_units: *//p' "$log") runs, nothing found"
  else
    failed+=("$target")
    echo "$target: $(grep -m 1 -E "panicked at|ERROR" -A 1 "$log" | tr '\n' ' '), see $log" >&2
  fi
done
[ ${#failed[@]} -eq 0 ]
