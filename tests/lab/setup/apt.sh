# Sourced: where Debian packages come from on this machine, as its own apt is configured.

# The archive this machine's release comes from. `indextargets` answers from the sources, also before any update.
debian_archive() {
  if [ -n "${LAB_MIRROR:-}" ]; then echo "${LAB_MIRROR%/}"; return; fi
  local codename found
  codename=$(. /etc/os-release && echo "${VERSION_CODENAME:-}")
  found=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' | awk -v own="$codename" \
    '$3 == "main" && ($2 == own || $2 ~ /^(old)*stable$/ || $2 ~ /^(testing|unstable|sid)$/) && !found {found = $1} END {print found}')
  [ -n "$found" ] || { echo "apt's configuration names no Debian archive; set LAB_MIRROR" >&2; return 1; }
  echo "${found%/}"
}

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
