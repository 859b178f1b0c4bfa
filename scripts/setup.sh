#!/usr/bin/env bash
# Everything that building and running need and that is not there yet.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

command -v cargo >/dev/null || fail "Rust is missing: install rustup, then run this again"
command -v cc >/dev/null || install_packages gcc libc6-dev
need git
# They hold the SSH keys of tasks.
need ssh-agent openssh-client
# Tasks with gitLfs have it make files of pointers.
need git-lfs
need curl
./scripts/install-cli.sh
