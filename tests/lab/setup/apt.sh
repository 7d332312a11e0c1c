# Sourced: where Debian packages come from on this machine, as its own apt is configured.

# The archive this machine's release comes from.
debian_archive() (
  set -euo pipefail
  [ -z "${LAB_MIRROR:-}" ] || { echo "${LAB_MIRROR%/}"; exit; }
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  listed() {
    apt-get "$@" indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | awk -v own="$codename" \
      '$3 == "main" && ($2 == own || $2 ~ /^((old)*stable|testing|unstable|sid)$/) && !found {found = $1} END {print found}'
  }
  found=$(listed)
  if [ -z "$found" ]; then # images often come with their lists removed: fetch some of our own
    own=$(mktemp -d)
    trap 'rm -rf "$own"' EXIT
    mkdir -p "$own"/{lists/partial,cache/archives/partial}
    private=(-o "Dir::State::lists=$own/lists" -o "Dir::Cache=$own/cache" -o APT::Sandbox::User=root)
    apt-get -qq "${private[@]}" update > /dev/null || true
    found=$(listed "${private[@]}")
  fi
  [ -n "$found" ] || { echo "apt's configuration names no Debian archive; set LAB_MIRROR" >&2; exit 1; }
  echo "${found%/}"
)

debian_keyring() {
  local key
  for key in /usr/share/keyrings/debian-archive-keyring.{gpg,pgp}; do
    [ -r "$key" ] && { echo "$key"; return; }
  done
  echo "the package debian-archive-keyring is needed" >&2
  return 1
}

# Proxies and the like, as lines of apt.conf: all that a private apt takes over.
apt_transport_settings() { apt-config dump | grep -iE '^Acquire::(http|https|ftp)(::[^ ]*)? ' || true; }
