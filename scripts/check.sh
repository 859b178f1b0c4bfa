#!/usr/bin/env bash
# Every check, with all set-up. What CI runs, and nothing else.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

started=$SECONDS
timed() { local began=$SECONDS; "$@" || fail "failed: $*"; note "$((SECONDS - began)) s"; }

step "Tools"
timed ./scripts/setup.sh
need shellcheck
# The example clients are run as their readers would.
need jq
need openssl
need socat
need python3
need go golang-go
# Repositories are cloned from real servers.
[ -x /usr/sbin/sshd ] || install_without_services openssh-server
{ [ -x /usr/sbin/lighttpd ] && ls /usr/lib/lighttpd/mod_openssl.so >/dev/null 2>&1; } || install_without_services lighttpd lighttpd-mod-openssl
# Plugins are published in a real registry.
[ -x /usr/bin/docker-registry ] || install_without_services docker-registry
rustup component list --installed 2>/dev/null | grep -q clippy || rustup component add clippy rustfmt || fail "please install clippy and rustfmt"

step "Scripts (shellcheck)"
timed shellcheck -x scripts/*.sh scripts/bench/*.sh examples/clients/curl/*.sh examples/plugins/*/build.sh tests/cloud-scripts/gcloud tests/image/gatehouse deploy/image/contents.sh deploy/image/playwright/playwright-mcp tests/legacy-clients/*.sh .ci/run

step "Scripts for Google Cloud, against a cloud that is none; the Terraform module, against its schema"
timed ./scripts/check-cloud-scripts.sh

step "Format"
timed cargo fmt --all --check
timed cargo fmt --manifest-path plugins/Cargo.toml --all --check
timed cargo fmt --manifest-path tests/peers/Cargo.toml --check

step "House rules: sizes, names, pages"
timed ./scripts/check-house-rules.sh

step "Plugins: build as components, then their cases"
timed ./scripts/build-plugins.sh --guests
timed cargo test --locked --quiet --manifest-path plugins/Cargo.toml

step "Example plugins in four languages: build as components"
timed ./scripts/build-examples.sh

# Always the whole workspace, with Google's services: another selection would be other features, and all built
# again.
all=(--locked --workspace --features gatehouse/gcp)
step "Build"
timed cargo build "${all[@]}" --bins

# The programs themselves hold no tests; built for some, each would be linked once more.
step "Unit tests"
timed cargo test "${all[@]}" --quiet --lib --test documents

# Most of them wait for a process or a clock most of the time: more of them than processors at once.
step "Integration tests: the real binary, the real CLI, the real plugins"
timed cargo test "${all[@]}" --test it -- --test-threads "$((3 * $(nproc)))"

# Everything that is not about one machine: the list says what is, and why.
step "The same with everything in the cloud: Cloud Storage, Cloud KMS and Cloud Run on loopback, down to the bytes on the wire"
mapfile -t left_out < <(sed -n 's/^\([a-z][a-z0-9_:]*\) .*/\1/p' tests/left-out-in-the-cloud.txt)
known=$(cargo test "${all[@]}" --quiet --test it -- --list)
for name in "${left_out[@]}"; do
  grep -q "$name" <<<"$known" || fail "tests/left-out-in-the-cloud.txt: no test is named $name"
done
TESTS_ON=cloud timed cargo test "${all[@]}" --test it -- --test-threads "$((3 * $(nproc)))" "${left_out[@]/#/--skip=}"

step "The image, built and started without an engine"
timed ./scripts/check-image.sh

step "Lints"
timed cargo clippy "${all[@]}" --all-targets --quiet -- -D warnings
timed cargo clippy --locked --manifest-path plugins/Cargo.toml --all-targets --quiet -- -D warnings
timed cargo clippy --locked --manifest-path tests/peers/Cargo.toml --quiet -- -D warnings

step "Without Google's services, as the quick start builds it"
timed cargo clippy --locked --quiet -p gatehouse -p scripted-model -- -D warnings

step "Documentation builds without a warning"
RUSTDOCFLAGS="-D warnings -A rustdoc::private-intra-doc-links" timed cargo doc --locked --no-deps --quiet --features gatehouse/gcp -p gatehouse -p scripted-model -p fake-google

step "The quick start"
GATEHOUSE_BUILD="${all[*]}" timed ./scripts/quickstart.sh --once

step "All checks passed in $((SECONDS - started)) s"
