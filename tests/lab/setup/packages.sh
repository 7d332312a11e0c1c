#!/usr/bin/env bash
# Installs the Debian packages that a task needs and this machine has not: packages.sh build|test|demo|bench|cross|fuzz...
# When nothing is missing, nothing is done and no right is needed; otherwise it wants root or sudo.
set -euo pipefail

# What links the product: Opus is built from source (cmake, C compiler), ALSA is the system's.
build="gcc libc6-dev make cmake pkg-config libasound2-dev"
# A third-party endpoint and a scripted SIP peer for the end-to-end tests; certificates for the mixer's TLS ports.
test="$build baresip-core sip-tester openssl"
# A voice to say something.
demo="$test espeak-ng"
# A voice to rate; what the media thread asks of the kernel.
bench="$test espeak-ng strace"
# A foreign root file system with compilers and emulators in it; the lab that calls what was built is built here.
cross="$build mmdebstrap"
# libFuzzer is C++.
fuzz="$build g++"

die() { echo "packages.sh: $*" >&2; exit 1; }

declare -A sets=([build]=$build [test]=$test [demo]=$demo [bench]=$bench [cross]=$cross [fuzz]=$fuzz)
wanted=()
for name in "$@"; do
  [ -n "${sets[$name]:-}" ] || die "no set '$name', there are: ${!sets[*]}"
  wanted+=(${sets[$name]})
done
[ ${#wanted[@]} -gt 0 ] || die "which set? ${!sets[*]}"
command -v dpkg-query > /dev/null || die "this is no Debian; install the counterparts of: ${wanted[*]}"

missing=()
for package in $(printf '%s\n' "${wanted[@]}" | sort -u); do
  [[ $(dpkg-query -W -f '${db:Status-Status} ' "$package" 2>/dev/null) =~ (^| )installed ]] || missing+=("$package")
done
[ ${#missing[@]} -gt 0 ] || exit 0

as_root=()
if [ "$(id -u)" != 0 ]; then
  # Whoever sits at a terminal may be asked for a password; a build machine may not.
  as_root=(sudo)
  [ -t 0 ] || as_root=(sudo -n)
  "${as_root[@]}" true || die "neither root nor sudo; please have installed: ${missing[*]}"
fi
echo "installing: ${missing[*]}"
log=$(mktemp)
trap 'rm -f "$log"' EXIT
apt() { ${as_root[@]+"${as_root[@]}"} env DEBIAN_FRONTEND=noninteractive apt-get -y -qq -o Acquire::Retries=3 -o DPkg::Lock::Timeout=300 "$@"; }
{ apt update && apt install --no-install-recommends "${missing[@]}"; } > "$log" 2>&1 < /dev/null || { cat "$log" >&2; die "apt failed"; }
