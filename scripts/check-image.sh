#!/usr/bin/env bash
# Builds the image without an engine and without an image registry, starts it as a container that may write
# nothing of it, and takes tasks through it.
#   ./scripts/check-image.sh
# The bases are made here: Debian by debootstrap, and upon it the Rust and the Node of this machine. The binary is
# built with the dev profile; what was built here before serves it. All is kept in target/image.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
# Making and starting images takes root; building what tests them does not.
as_root() { "$@"; }
if [ "$(id -u)" != 0 ]; then
  sudo -n true 2>/dev/null || fail "images are made and started as root: allow this user sudo without a password, or run this as root"
  as_root() { sudo -n "$@"; }
fi
./scripts/setup.sh
need buildah
need runc
need debootstrap
need jq
[ -e plugins/dist/git.wasm ] || ./scripts/build-plugins.sh
for workspace in Cargo.toml plugins/Cargo.toml; do
  cargo fetch --locked --quiet --manifest-path "$workspace" || fail "the crates of $workspace cannot be fetched"
done

home=$ROOT/target/image
mkdir -p "$home/tmp"
build() { as_root env TMPDIR="$home/tmp" buildah --root "$home/storage" --runroot "$home/run" "$@"; }

# --- Bases -----------------------------------------------------------------------------------------
cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
# Made anew where this script or the places are others.
tag=$({ cat "$0" && printf '%s\n' "$cargo_home" "$rustup_home" && rustc -V && node --version; } | sha256sum | cut -c1-12)
# The image $1, of $2 with what the function $3 does to it.
base() {
  local container
  build inspect --type image "localhost/$1:$tag" >/dev/null 2>&1 && return
  container=$(build from "$2")
  "$3" "$container"
  build commit --quiet --rm "$container" "localhost/$1:$tag" >/dev/null
}
install_into() {
  local container=$1
  shift
  build run --isolation chroot "$container" -- sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $*" >"$home/packages.log" 2>&1 ||
    fail "these packages cannot be installed into an image: $*; see $home/packages.log"
}
with_debian() {
  if ! [ -d "$home/debian" ]; then
    as_root rm -rf "$home/debian.part"
    as_root debootstrap --variant=minbase bookworm "$home/debian.part" >"$home/debootstrap.log" 2>&1 || fail "debootstrap failed; see $home/debootstrap.log"
    as_root mv "$home/debian.part" "$home/debian"
  fi
  build add --quiet "$1" "$home/debian" / >/dev/null
}
# The toolchain itself is not copied: it is mounted where it is on this machine.
with_rust() {
  local packages=(gcc libc6-dev)
  compgen -G "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib/libstd-*" >/dev/null || packages+=(rustc-web cargo-web rust-web-src)
  install_into "$1" "${packages[@]}"
  build config --env CARGO_HOME="$cargo_home" --env RUSTUP_HOME="$rustup_home" --env CARGO_NET_OFFLINE=true --env CARGO_INCREMENTAL=0 \
    --env PATH="$cargo_home/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$1"
}
with_node() {
  local modules
  modules=$(npm root --global)
  if [ -d "$modules/npm" ]; then
    build add --quiet "$1" "$(node --print process.execPath)" /usr/local/bin/node >/dev/null
    build add --quiet "$1" "$modules/npm" /usr/local/lib/node_modules/npm >/dev/null
    build run --isolation chroot "$1" -- ln -sf ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
  else
    install_into "$1" nodejs npm
  fi
  # Whom this machine trusts, where there is a proxy before the registry of packages.
  if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    build add --quiet "$1" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/of-this-machine.crt >/dev/null
    build config --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/of-this-machine.crt "$1"
  fi
}
step "Bases"
began=$SECONDS
# What was built before is kept for the next time, within limits. In GiB:
[ "$(as_root du -s --block-size=1G "$home/storage" 2>/dev/null | cut -f1)0" -lt 150 ] || build rmi --all --force >/dev/null 2>&1 || true
base debian scratch with_debian
base rust "localhost/debian:$tag" with_rust
base node "localhost/debian:$tag" with_node
note "$((SECONDS - began)) s"

# --- The image -------------------------------------------------------------------------------------
# Dependencies that were built here are the same in there: cargo knows them by what went into them, and not by
# where they lie. What is under our own path is built anew under the image's.
seed() {
  local caches=$home/tmp/buildah-cache
  if [ -d "$HOME/.npm/_cacache" ] && ! [ -d "$caches/gatehouse-npm" ]; then
    as_root mkdir -p "$caches/gatehouse-npm"
    as_root cp --archive "$HOME/.npm/_cacache" "$caches/gatehouse-npm/"
  fi
  [ -d target/debug/deps ] || return 0
  as_root mkdir -p "$caches/gatehouse-target/debug/deps"
  find target/debug/deps -maxdepth 1 \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' -o -name '*.d' \) -print0 |
    as_root xargs -0 cp --link --no-clobber --target-directory "$caches/gatehouse-target/debug/deps"
  as_root cp --archive --update target/debug/build target/debug/.fingerprint "$caches/gatehouse-target/debug/"
}
make_image() {
  local name=$1
  build bud --isolation chroot --format docker --layers --tag "localhost/$name" \
    --volume "$cargo_home:$cargo_home" --volume "$rustup_home:$rustup_home:ro" \
    --build-arg BUILD_BASE="localhost/rust:$tag" --build-arg NODE_BASE="localhost/node:$tag" --build-arg RUNTIME_BASE="localhost/debian:$tag" \
    --build-arg PROFILE=dev --build-arg PACKAGES=--workspace "${@:2}" . >"$home/$name.log" 2>&1 ||
    { tail -n 40 "$home/$name.log" >&2; fail "the image cannot be built; see $home/$name.log"; }
}
step "Image: built from the Dockerfile, without and with a browser"
began=$SECONDS
seed
make_image gatehouse
make_image gatehouse-with-browser --build-arg BROWSER=playwright
note "$((SECONDS - began)) s"

# --- Containers ------------------------------------------------------------------------------------
containers=()
end() {
  local container
  for container in "${containers[@]}"; do build rm "$container" >/dev/null || true; done
  as_root rm -rf "$home"/*.bundle-*
}
trap end EXIT
# Where an image can be started from: its files, and what is said of it.
opened() {
  local container bundle=$home/$1
  container=$(build from "localhost/$1")
  containers+=("$container")
  rm -rf "$bundle"
  mkdir "$bundle"
  ln -s "$(build mount "$container")" "$bundle/rootfs"
  build inspect --type image "localhost/$1" | jq .Docker.config >"$bundle/image.json"
}
opened gatehouse
opened gatehouse-with-browser

step "What is in it"
root=$(readlink "$home/gatehouse/rootfs")
jq -e '.Entrypoint == ["tini", "--", "gatehouse"] and .Cmd == ["serve"] and (.Healthcheck.Test[1] | contains("/health")) and (.Volumes | has("/var/lib/gatehouse"))
  and (.Env | index("HOME=/var/lib/gatehouse") != null and index("GATEHOUSE__ISOLATION__MINIMUM=uid") != null)' "$home/gatehouse/image.json" >/dev/null ||
  fail "the image does not start what it should: $(cat "$home/gatehouse/image.json")"
# The same source gives the same components wherever it is built.
for plugin in plugins/dist/*.wasm; do
  as_root cmp "$plugin" "$root/opt/gatehouse/plugins/dist/${plugin##*/}" || fail "${plugin##*/} of the image is not what is built here"
done
[ "$(as_root chroot "$root" claude --version | cut -d' ' -f1)" = "$(jq -r '.dependencies[]' scripts/cli/package.json)" ] || fail "the image has another CLI than the pinned one"
# The list of what is in it says so in the format's own words, and names what everybody would look for.
python=$(python3 -c 'import sys; print(sys.executable)')
if ! [ -d "$home/python/cyclonedx" ]; then
  "$python" -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$home/python" 'cyclonedx-python-lib[json-validation]==11.12.0' >"$home/pip.log" 2>&1 ||
    { cat "$home/pip.log" >&2; fail "the reader of CycloneDX cannot be installed; see its message above"; }
fi
for image in gatehouse gatehouse-with-browser; do
  as_root cat "$(readlink "$home/$image/rootfs")/opt/gatehouse/contents.cdx.json" >"$home/$image/contents.json"
  PYTHONPATH=$home/python "$python" tests/image/contents.py "$home/$image/contents.json" || fail "the list of what is in $image is not as it should be"
done
note "$(as_root du -s --block-size=1M --apparent-size "$root" | cut -f1) MB of files; with a browser $(as_root du -s --block-size=1M --apparent-size "$(readlink "$home/gatehouse-with-browser/rootfs")" | cut -f1)"

step "Its gateway and jobs, as containers"
tests=$(cargo test --locked --workspace --features gatehouse/gcp --test it --no-run --message-format=json | jq -r 'select(.reason == "compiler-artifact" and .target.name == "it") | .executable')
as_root env PATH="$PATH" RUST_BACKTRACE=0 GATEHOUSE_BIN="$ROOT/tests/image/gatehouse" GATEHOUSE_IMAGE="$home/gatehouse" GATEHOUSE_IMAGE_WITH_BROWSER="$home/gatehouse-with-browser" \
  "$tests" --ignored image:: || fail "the image does not do what it should; see above"
