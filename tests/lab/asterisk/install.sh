#!/usr/bin/env bash
# Unpacks a real Asterisk with a transcoding Opus codec into a folder. Nothing is installed on the system, root is not
# needed, and a second run returns at once.
#
#   install.sh            the first suite of $LAB_SUITES that works (default "sid bullseye": Asterisk 22, then 16)
#   install.sh --suite S  that suite and no other
#
#   LAB_DIR      where it goes: $LAB_DIR/asterisk/<suite>, and the link `current` to it (default target/lab)
#   LAB_MIRROR   a Debian archive, when apt's own configuration names none
#   LAB_DEBS     a folder of .deb files that an earlier run left in $LAB_DIR/asterisk/debs-<suite>: no network is used
#
# How: a private apt (own lists, own cache, an empty package database) resolves, downloads and checks signatures with
# this machine's Debian keys; the packages are unpacked, and Asterisk later runs under its own dynamic loader and libc.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
. "$here/../setup/apt.sh"
lab=${LAB_DIR:-$here/../../../target/lab}
mkdir -p "$lab/asterisk"
lab=$(cd "$lab" && pwd)
home=$lab/asterisk
module_list=$here/conf/modules.conf.in
# Changes when this recipe or the list of modules does: then what was unpacked before is no longer good.
recipe=$(cat "${BASH_SOURCE[0]}" "$module_list" | sha256sum | cut -d' ' -f1)

die() { echo "asterisk/install.sh: $*" >&2; exit 1; }

main() {
  for tool in apt-get dpkg-deb flock; do command -v "$tool" >/dev/null || die "$tool is needed (any Debian or Ubuntu has it)"; done
  exec 9>"$home/.lock"
  flock 9 # tests that start together install once
  local suite
  for suite in ${LAB_SUITES:-sid bullseye}; do
    ready "$suite" && { point_to "$suite"; return; }
  done
  for suite in ${LAB_SUITES:-sid bullseye}; do
    # A child of its own, because `set -e` is off inside a function whose result is tested.
    if bash "${BASH_SOURCE[0]}" --unpack "$suite"; then point_to "$suite"; return; fi
    echo "asterisk/install.sh: $suite did not work out" >&2
  done
  die "no suite of '${LAB_SUITES:-sid bullseye}' gave an Asterisk with an Opus transcoder"
}

ready() { [ "$(cat "$home/$1/recipe" 2>/dev/null)" = "$recipe" ]; }
point_to() { ln -sfn "$1" "$home/current"; }

# unpack SUITE: everything from the mirror to a checked folder.
unpack() {
  local suite=$1 root=$home/$1 work=$home/work-$1 debs=$home/debs-$1 picks=() scope
  for scope in needed everything; do
    rm -rf "$work" "$root"
    mkdir -p "$work"/{sources,lists/partial,archives/partial} "$root" "$debs"
    if [ -n "${LAB_DEBS:-}" ]; then
      debs=$(cd "$LAB_DEBS" && pwd)
    else
      private_apt "$suite" "$work"
      apt-get -qq update
      mapfile -t picks < <(closure "$suite" "$scope")
      [ ${#picks[@]} -gt 0 ] || die "apt found no Asterisk in $suite"
      rm -f "$debs"/*.deb
      (cd "$debs" && apt-get -qq download "${picks[@]}")
    fi
    local deb
    for deb in "$debs"/*.deb; do dpkg-deb -x "$deb" "$root"; done
    describe "$suite" "$root"
    if complete "$root"; then
      rm -rf "$work"
      echo "$recipe" > "$root/recipe"
      echo "asterisk/install.sh: $(version "$root") from $suite, $(du -sm "$root" | cut -f1) MB in $root"
      return
    fi
    [ -z "${LAB_DEBS:-}" ] || break
  done
  die "$suite: something is missing even with every dependency"
}

# A configuration for apt that shares nothing with this machine's but its proxies: hooks of container images, which
# empty the package cache, must not run here. Every library is to come from the one suite, hence the empty database.
private_apt() {
  local suite=$1 work=$2 archive key
  archive=$(debian_archive)
  key=$(debian_keyring)
  : > "$work/status"
  printf '%s\n' 'Types: deb' "URIs: $archive" "Suites: $suite" 'Components: main' "Signed-By: $key" \
    > "$work/sources/suite.sources"
  {
    cat <<CONF
Dir::Etc::main "/dev/null";
Dir::Etc::parts "/dev/null";
Dir::Etc::sourcelist "/dev/null";
Dir::Etc::sourceparts "$work/sources";
Dir::Etc::preferences "/dev/null";
Dir::Etc::preferencesparts "/dev/null";
Dir::State::lists "$work/lists";
Dir::State::status "$work/status";
Dir::Cache::archives "$work/archives";
Dir::Cache::pkgcache "";
Dir::Cache::srcpkgcache "";
APT::Install-Recommends "false";
APT::Sandbox::User "root";
APT::Architectures { "$(dpkg --print-architecture)"; };
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::IndexTargets::deb::Contents-deb::DefaultEnabled "false";
Acquire::Check-Valid-Until "false";
Acquire::Retries "3";
CONF
    apt_transport_settings
  } > "$work/apt.conf"
  export APT_CONFIG=$work/apt.conf
}

# The packages apt would install, as name=version: all, or those that Asterisk and the modules of modules.conf link to.
# Names carry library versions, so the patterns are loose; `complete` is exact.
closure() {
  local suite=$1 scope=$2 want=(asterisk asterisk-modules) needed
  needed='asterisk|asterisk-modules|asterisk-opus|zlib1g|libzstd1|libc6|libgcc-s1|libstdc\+\+6|libbsd0|libmd0|libcap2'
  needed+='|libcrypt1|libedit2|libjansson4|libnspr4|libnss3|libopus0|libsqlite3-0|libsrtp2-1|libssl[0-9.]+(t64)?|libsystemd0'
  needed+='|libtinfo6|liburiparser1|libuuid1|libxml2.*|libxslt1\.1'
  if [ "$suite" = bullseye ]; then
    want+=(asterisk-opus)
    needed+='|libicu[0-9]+|liblzma5|liblz4-1|libgcrypt20|libgpg-error0'
  fi
  [ "$scope" = needed ] || needed='.*'
  apt-get -s -y install "${want[@]}" | sed -n 's/^Inst \([^ ]*\) (\([^ ]*\) .*/\1=\2/p' | grep -E "^($needed)=" | sort
}

# Leaves env.sh: what asterisk.sh must know. Relative to the folder, so that it may be moved.
describe() {
  local suite=$1 root=$2 file loader= modules dir libs=
  for file in "$root"/{lib,lib64,usr/lib,usr/lib64}{,/*}/ld-linux*.so.*; do [ -e "$file" ] && loader=$file; done
  modules=$(find "$root/usr/lib" -name app_confbridge.so -printf '%h\n' | head -n 1)
  [ -n "$loader" ] && [ -n "$modules" ] || die "$suite: no loader or no ConfBridge among the packages"
  for dir in "$root"/{usr/lib,lib}/*-linux-gnu* "$root/usr/lib"; do [ -d "$dir" ] && libs+=${libs:+:}$dir; done
  {
    echo "SUITE=$suite"
    echo 'ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd -P)'
    echo "LIBS=$libs" && echo "LOADER=$loader" && echo "MODULES=$modules"
  } | sed "s#$root#\$ROOT#g" > "$root/env.sh"
}

# Does every library resolve inside the folder, and is there a codec that can transcode Opus?
complete() (
  . "$1/env.sh"
  bad=0
  [ -f "$MODULES/codec_opus_open_source.so" ] || { echo "no transcoding Opus codec in $SUITE" >&2; bad=1; }
  while read -r file; do
    case $file in
      /*) ;;
      *) file=$MODULES/$file; [ -f "$file" ] || continue ;; # an older Asterisk has fewer modules
    esac
    if "$LOADER" --library-path "$LIBS" --list "$file" 2>&1 | grep -E 'not found|cannot open|error while loading' >&2; then
      echo "  ^ $file" >&2
      bad=1
    fi
  done < <(echo "$ROOT/usr/sbin/asterisk"; sed -n 's/^load=//p' "$module_list")
  exit $bad
)

version() (
  . "$1/env.sh"
  "$LOADER" --library-path "$LIBS" "$ROOT/usr/sbin/asterisk" -V
)

case ${1:-} in
  '') main ;;
  --suite) LAB_SUITES=${2:?which suite?} && main ;;
  --unpack) unpack "$2" ;;
  *) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2; exit 2 ;;
esac
