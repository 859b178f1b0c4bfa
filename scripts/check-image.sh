#!/usr/bin/env bash
# Builds the image without an engine and without an image registry, starts it as a container that may write
# nothing of it, and takes tasks through it.
#   ./scripts/check-image.sh
# The bases are made here: Debian by debootstrap, and upon it the Rust and the Node of this machine. The binary is
# built with the dev profile; what the checks built before serves it. All is kept in target/image.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
[ "$(id -u)" = 0 ] || fail "building and starting images takes root here: run this as root (sudo -E $0)"
need buildah
need runc
need debootstrap
need jq

home=$ROOT/target/image
mkdir -p "$home/tmp"
export TMPDIR=$home/tmp
build() { buildah --root "$home/storage" --runroot "$home/run" "$@"; }
is_there() { build inspect --type image "$1" >/dev/null 2>&1; }

# --- Bases -----------------------------------------------------------------------------------------
# An image of what is in directory $2, under the name $1; with the commands of the others run in it.
base() {
  local name=$1 from=$2 container
  shift 2
  container=$(build from "$from")
  "$@" "$container"
  build commit --quiet --rm "$container" "$name" >/dev/null
}
with_debian() {
  [ -d "$home/debian" ] || { debootstrap --variant=minbase bookworm "$home/debian.part" >"$home/debootstrap.log" 2>&1 || fail "debootstrap failed; see $home/debootstrap.log"; mv "$home/debian.part" "$home/debian"; }
  build add --quiet "$1" "$home/debian" / >/dev/null
}
# The toolchain itself is not copied: it is mounted where it is on this machine.
with_rust() {
  local packages=(gcc libc6-dev ca-certificates)
  compgen -G "$(rustc --print sysroot)/lib/rustlib/wasm32-unknown-unknown/lib/libstd-*" >/dev/null || packages+=(rustc-web cargo-web rust-web-src)
  build run --isolation chroot "$1" -- sh -c "apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends ${packages[*]}" >"$home/rust.log" 2>&1 || fail "the build's base cannot be made; see $home/rust.log"
  build config --env CARGO_HOME="$cargo_home" --env RUSTUP_HOME="$rustup_home" --env CARGO_NET_OFFLINE=true --env PATH="$cargo_home/bin:/usr/sbin:/usr/bin:/sbin:/bin" "$1"
}
with_node() {
  build add --quiet "$1" "$(readlink -f "$(command -v node)")" /usr/local/bin/node >/dev/null
  build add --quiet "$1" "$(npm root --global)/npm" /usr/local/lib/node_modules/npm >/dev/null
  build run --isolation chroot "$1" -- ln -sf ../lib/node_modules/npm/bin/npm-cli.js /usr/local/bin/npm
  # Whom this machine trusts, where there is a proxy before the registry of packages.
  if [ -e /etc/ssl/certs/ca-certificates.crt ]; then
    build add --quiet "$1" /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/of-this-machine.crt >/dev/null
    build config --env NODE_EXTRA_CA_CERTS=/etc/ssl/certs/of-this-machine.crt "$1"
  fi
}

cargo_home=${CARGO_HOME:-$HOME/.cargo}
rustup_home=${RUSTUP_HOME:-$HOME/.rustup}
step "Bases"
began=$SECONDS
is_there localhost/debian || base localhost/debian scratch with_debian
is_there localhost/rust || base localhost/rust localhost/debian with_rust
is_there localhost/node || base localhost/node localhost/debian with_node
note "$((SECONDS - began)) s"

# --- The image -------------------------------------------------------------------------------------
# Dependencies that the checks have built are the same in there: cargo knows them by what went into them, and not
# by where they lie. What is under our own path is built anew under the image's.
seed() {
  local caches=$home/tmp/buildah-cache
  local cache=$caches/gatehouse-target/debug
  if [ -d "$HOME/.npm/_cacache" ] && ! [ -d "$caches/gatehouse-npm" ]; then
    mkdir -p "$caches/gatehouse-npm"
    cp --archive --link "$HOME/.npm/_cacache" "$caches/gatehouse-npm/"
  fi
  [ -d target/debug/deps ] || return 0
  mkdir -p "$cache/deps"
  find target/debug/deps -maxdepth 1 \( -name '*.rlib' -o -name '*.rmeta' -o -name '*.so' -o -name '*.d' \) -exec cp --link --no-clobber --target-directory "$cache/deps" {} +
  cp --archive --update target/debug/build target/debug/.fingerprint "$cache/"
}
step "Image: built from the Dockerfile, without and with a browser"
began=$SECONDS
seed
make_image() {
  local name=$1
  build bud --isolation chroot --format docker --layers --tag "localhost/$name" \
    --volume "$cargo_home:$cargo_home" --volume "$rustup_home:$rustup_home:ro" \
    --build-arg BUILD_BASE=localhost/rust --build-arg NODE_BASE=localhost/node --build-arg RUNTIME_BASE=localhost/debian \
    --build-arg PROFILE=dev --build-arg PACKAGES=--workspace "${@:2}" . >"$home/$name.log" 2>&1 ||
    { tail -n 40 "$home/$name.log" >&2; fail "the image cannot be built; see $home/$name.log"; }
}
make_image gatehouse
make_image gatehouse-with-browser --build-arg BROWSER=playwright
note "$((SECONDS - began)) s"

# --- Containers ------------------------------------------------------------------------------------
containers=()
end() {
  local container
  for container in "${containers[@]}"; do build rm "$container" >/dev/null || true; done
  rm -rf "$home"/*.bundle-*
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
root=$home/gatehouse/rootfs
jq -e '.Entrypoint == ["tini", "--", "gatehouse"] and .Cmd == ["serve"] and (.Healthcheck.Test[1] | contains("/health")) and (.Volumes | has("/var/lib/gatehouse"))' "$home/gatehouse/image.json" >/dev/null ||
  fail "the image does not start what it should: $(cat "$home/gatehouse/image.json")"
# The same source gives the same components wherever it is built.
for plugin in plugins/dist/*.wasm; do
  cmp "$plugin" "$root/opt/gatehouse/plugins/dist/${plugin##*/}" || fail "${plugin##*/} of the image is not what is built here"
done
[ "$("$root/usr/local/bin/claude" --version | cut -d' ' -f1)" = "$(jq -r '.dependencies[]' scripts/cli/package.json)" ] || fail "the image has another CLI than the pinned one"
# The list of what is in it says so in the format's own words, and names what everybody would look for.
python=$(python3 -c 'import sys; print(sys.executable)')
if ! [ -d "$home/python/cyclonedx" ]; then
  "$python" -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target "$home/python" 'cyclonedx-python-lib[json-validation]==11.12.0' >"$home/pip.log" 2>&1 ||
    { cat "$home/pip.log" >&2; fail "the reader of CycloneDX cannot be installed; see its message above"; }
fi
PYTHONPATH=$home/python "$python" tests/image/contents.py "$root/opt/gatehouse/contents.cdx.json" || fail "the list of what is in the image is not as it should be"
note "$(du -sh --apparent-size "$root/" | cut -f1) of files; with a browser $(du -sh --apparent-size "$home/gatehouse-with-browser/rootfs/" | cut -f1)"

step "Its gateway and jobs, as containers"
GATEHOUSE_BIN=$ROOT/tests/image/gatehouse GATEHOUSE_IMAGE=$home/gatehouse GATEHOUSE_IMAGE_WITH_BROWSER=$home/gatehouse-with-browser \
  cargo test --locked --workspace --features gatehouse/gcp --test it -- --ignored image:: ||
  fail "the image does not do what it should; see above"
