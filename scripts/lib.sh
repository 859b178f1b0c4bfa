# shellcheck shell=bash
# Sourced by the scripts beside it: one way to say what happens and what to do where it does not.

ROOT="$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)"
export ROOT

if [ -t 1 ]; then BOLD=$'\e[1m' DIM=$'\e[2m' RED=$'\e[31m' RESET=$'\e[0m'; else BOLD='' DIM='' RED='' RESET=''; fi

step() { printf '%s==> %s%s\n' "$BOLD" "$*" "$RESET"; }
note() { printf '%s    %s%s\n' "$DIM" "$*" "$RESET"; }
fail() { printf '%serror:%s %s\n' "$RED" "$RESET" "$*" >&2; exit 1; }

# Runs a Debian package installation where that is possible; says what to do where it is not.
install_packages() {
  local sudo=''
  if [ "$(id -u)" != 0 ]; then
    if ! sudo -n true 2>/dev/null; then fail "please install these packages: $*"; fi
    sudo='sudo -n'
  fi
  command -v apt-get >/dev/null || fail "please install the equivalent of these packages: $*"
  note "installing $*"
  $sudo apt-get update -qq >/dev/null || fail "the package lists cannot be fetched; please install: $*"
  DEBIAN_FRONTEND=noninteractive $sudo apt-get install -y -qq --no-install-recommends "$@" >/dev/null || fail "please install these packages: $*"
}

# Installs packages whose servers are to run only where somebody starts them: neither now nor at the
# next start of the machine.
install_without_services() {
  local sudo='' policy=/usr/sbin/policy-rc.d made=false service
  [ "$(id -u)" = 0 ] || sudo='sudo -n'
  if ! [ -e "$policy" ] && printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null 2>&1; then
    $sudo chmod 755 "$policy"
    made=true
  fi
  install_packages "$@"
  if $made; then $sudo rm -f "$policy"; fi
  for service in "$@"; do
    case "$service" in
      openssh-server) $sudo systemctl disable ssh >/dev/null 2>&1 || true ;;
      lighttpd | docker-registry) $sudo systemctl disable "$service" >/dev/null 2>&1 || true ;;
    esac
  done
}

# Makes sure that a command exists, by its Debian package.
need() {
  command -v "$1" >/dev/null || install_packages "${2:-$1}"
}
