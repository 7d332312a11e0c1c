#!/usr/bin/env bash
# Builds qss-endpoint for every target of cross.toml and lets it make a call under an emulator.
#
#   cross.sh [TARGET...]
#   cross.sh --run TARGET ARGUMENTS...   runs what was built, under the emulator, in the chroot
#
#   CROSS=chroot|cross   how: a Debian chroot (the default for root), or the `cross` tool (the default for others)
#   LAB_DIR              the chroot is $LAB_DIR/cross-root, 2.4 GB (default target/lab)
#
# The chroot holds a stable Debian's rustc-web with the standard library of each target, its C compilers, the packages
# cross.toml names, and qemu-user. Crates are fetched by this machine's cargo; inside there is no network. Binaries end
# up where `cross` puts them: target/<TARGET>/release/qss-endpoint.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repo=$(cd "$here/../../.." && pwd)
. "$here/../setup/apt.sh"
config=$repo/cross.toml
lab=${LAB_DIR:-$repo/target/lab}
root=$lab/cross-root
suite=trixie

say() { echo "[cross +${SECONDS}s] $*"; }
die() { echo "cross.sh: $*" >&2; exit 1; }

main() {
  if [ "${1:-}" = --run ]; then
    inside "$2" "$(emulator "$2")" "$repo/target/$2/release/qss-endpoint" "${@:3}"
  fi
  local targets all
  mapfile -t all < <(sed -n 's/^\[target\.\([a-z0-9_-]*\)\]$/\1/p' "$config")
  [ ${#all[@]} -gt 0 ] || die "no target in cross.toml"
  targets=("${@:-${all[@]}}")
  local target how=${CROSS:-}
  if [ -z "$how" ]; then
    if [ "$(id -u)" = 0 ]; then how=chroot
    elif command -v cross > /dev/null && docker info > /dev/null 2>&1; then how=cross
    else die "needs root for a chroot, or the cross tool with a usable Docker"; fi
  fi
  case $how in
    cross)
      for target in "${targets[@]}"; do
        (cd "$repo" && CROSS_CONFIG=$config cross build --locked --release --target "$target")
        (cd "$repo" && CROSS_CONFIG=$config cross run --locked --release --target "$target" -- version)
      done
      ;;
    chroot)
      "$here/../setup/packages.sh" cross
      make_root "${all[@]}"
      (cd "$repo" && cargo fetch --locked --quiet)
      for target in "${targets[@]}"; do
        build "$target"
        try "$target"
      done
      ;;
    *) die "CROSS is chroot or cross" ;;
  esac
}

# ------------------------------------------------------------ what cross.toml says

# The strings of an array that stands one item per line: toml_array SECTION KEY
toml_array() {
  awk -v section="[$1]" -v key="$2" '
    /^\[/ { here = ($0 == section); inside = 0 }
    here && $1 == key && $2 == "=" && $3 == "[" { inside = 1; next }
    inside && /^\]/ { inside = 0 }
    inside && match($0, /".*"/) { print substr($0, RSTART + 1, RLENGTH - 2) }' "$config"
}

packages_of() {
  toml_array "target.$1" pre-build | sed "s/\$CROSS_DEB_ARCH/$(debian_architecture "$1")/g" |
    sed -n 's/.* install //p' | tr ' ' '\n' | sed '/^-/d; /^$/d'
}

debian_architecture() {
  case $1 in
    aarch64-*-gnu) echo arm64 ;;
    arm*-gnueabihf) echo armhf ;;
    riscv64*-gnu) echo riscv64 ;;
    *) die "no Debian architecture known for $1" ;;
  esac
}
gnu_triple() {
  case $1 in
    arm*-gnueabihf) echo arm-linux-gnueabihf ;;
    *) echo "${1%%-*}-linux-gnu" | sed 's/riscv64gc/riscv64/' ;;
  esac
}
emulator() {
  case $1 in
    arm*) echo qemu-arm ;;
    *) echo "qemu-${1%%-*}" | sed 's/riscv64gc/riscv64/' ;;
  esac
}

# ------------------------------------------------------------ the chroot

make_root() {
  local target arch include architectures archive options=() line
  include=ca-certificates,rustc-web,cargo-web,gcc,libc6-dev,qemu-user
  architectures=$(dpkg --print-architecture)
  for target in "$@"; do
    arch=$(debian_architecture "$target")
    architectures+=,$arch
    include+=,libstd-rust-web-dev:$arch,gcc-$(gnu_triple "$target"),libc6-dev:$arch
    include+=,$(packages_of "$target" | paste -sd, -)
  done
  # Made again when it was cut short, or when it lacks a target or a package.
  [ "$(cat "$root/complete" 2>/dev/null)" != "$include" ] || return 0
  [ ! -d "$root" ] || rm -rf --one-file-system "$root"
  mkdir -p "$lab"
  archive=$(debian_archive)
  while read -r line; do options+=(--aptopt="$line"); done < <(apt_transport_settings)
  say "making the chroot: some minutes, 2.4 GB"
  mmdebstrap --quiet --variant=apt --architectures="$architectures" --include="$include" \
    --keyring="$(debian_keyring)" \
    --aptopt='APT::Install-Recommends "false"' --aptopt='Acquire::Retries "3"' --aptopt='Acquire::Languages "none"' \
    ${options[@]+"${options[@]}"} \
    --dpkgopt='path-exclude=/usr/share/doc/*' --dpkgopt='path-exclude=/usr/share/man/*' \
    "$suite" "$root" "deb $archive $suite main"
  mkdir -p "$root/cargo/registry"
  echo '127.0.0.1 localhost' > "$root/etc/hosts"
  echo "$include" > "$root/complete"
  say "chroot ready: $(chroot "$root" rustc --version), $(du -sm "$root" | cut -f1) MB"
}

# Becomes a command in the chroot, with the sources and /tmp where they are outside and the crates at hand. The mounts
# live in a name space of their own and vanish with the command; pid and network are those of outside.
inside() {
  local target=$1 gnu under upper env name setting
  shift
  gnu=$(gnu_triple "$target") under=${target//-/_}
  upper=${under^^}
  env=(PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LANG=C.UTF-8 CARGO_HOME=/cargo CARGO_NET_OFFLINE=true
    "CARGO_TARGET_DIR=$repo/target/cross" "CARGO_TARGET_${upper}_LINKER=$gnu-gcc" "PKG_CONFIG_PATH_$under=/usr/lib/$gnu/pkgconfig")
  for name in CARGO_BUILD_JOBS ALSA_CONFIG_PATH VSND_DIR; do [ -z "${!name:-}" ] || env+=("$name=${!name}"); done
  while read -r setting; do
    case $setting in
      *=*) env+=("$setting") ;;
      *) [ -z "${!setting:-}" ] || env+=("$setting=${!setting}") ;;
    esac
  done < <(toml_array "target.$target.env" passthrough)
  mkdir -p "$root$repo"
  ROOT=$root SRC=$repo REGISTRY=${CARGO_HOME:-$HOME/.cargo}/registry exec unshare --mount --propagation private bash -euc '
    mount --bind /tmp "$ROOT/tmp"
    mount --bind "$SRC" "$ROOT$SRC"
    mount --bind "$REGISTRY" "$ROOT/cargo/registry"
    mount -t proc proc "$ROOT/proc"
    mount --rbind /dev "$ROOT/dev"
    exec chroot "$ROOT" /usr/bin/env -i "$@"' _ "${env[@]}" bash -euc 'cd "$0"; exec "$@"' "$repo" "$@"
}

build() {
  mkdir -p "$repo/target/cross" "$repo/target/$1/release"
  (inside "$1" cargo build --locked --release --target "$1" --package qss-endpoint --bin qss-endpoint)
  (inside "$1" cargo build --locked --release --target "$1" --package vsnd)
  cp "$repo/target/cross/$1/release/qss-endpoint" "$repo/target/$1/release/"
  say "$1 built: $(stat -c %s "$repo/target/$1/release/qss-endpoint") bytes"
}

# It says its version, and two of it talk to each other through the lab's mixer. The virtual sound card is a plug-in of
# the program's own libasound, so it is of the target's kind too.
try() {
  local program=$lab/qss-endpoint-$1 bits=()
  case $1 in arm*) bits=(--32-bit) ;; esac
  printf '#!/bin/bash\nexec %q --run %q "$@"\n' "$here/cross.sh" "$1" > "$program"
  chmod +x "$program"
  "$program" version
  (cd "$repo" && cargo build --locked --quiet --package lab --package vsnd)
  VSND_LIB=$repo/target/cross/$1/release/libasound_module_pcm_vsnd.so \
    "$repo/target/debug/lab-demo" --endpoint "$program" --mixer lab --out "$lab/heard-$1.wav" ${bits[@]+"${bits[@]}"}
  say "$1 made a call under $(emulator "$1")"
}

main "$@"
