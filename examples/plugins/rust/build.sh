#!/usr/bin/env bash
# Builds the component: ./build.sh [OUT]. What `gatehouse plugin build` runs.
# Needs cargo with the target wasm32-unknown-unknown (rustup, or Debian's rustc-web and rust-web-src).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=${1:-plugin.wasm}
target=wasm32-unknown-unknown

fail() {
    printf 'build: %s\n' "$*" >&2
    exit 1
}
sysroot_of() { "$1" --print sysroot 2>/dev/null; }
has_std() { compgen -G "$1/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; }
has_source() { [[ -f $1/lib/rustlib/src/rust/library/Cargo.toml ]]; }

# The first compiler on the PATH whose sysroot passes the check.
find_rustc() {
    local candidate sysroot
    while read -r candidate; do
        sysroot=$(sysroot_of "$candidate") || continue
        if "$1" "$sysroot"; then
            rustc=$candidate
            return 0
        fi
    done < <(type -ap rustc | awk '!seen[$0]++')
    return 1
}

rustc=
build_std=()
if find_rustc has_std; then
    :
elif type -p rustup >/dev/null && timeout 120 rustup target add "$target" && find_rustc has_std; then
    :
elif find_rustc has_source; then
    # Compiling the standard library is an unstable feature of cargo.
    build_std=(-Z "build-std=std,panic_abort")
    export RUSTC_BOOTSTRAP=1
else
    fail "no standard library for $target: \`rustup target add $target\`, or on Debian \`apt-get install rustc-web cargo-web rust-web-src\`"
fi
cargo=$(dirname "$rustc")/cargo
[[ -x $cargo ]] || cargo=$(type -p cargo) || fail "there is $rustc but no cargo: install cargo beside it"

# The linker that makes components, of this toolchain or of another one that is installed.
linker=
while read -r candidate; do
    host=$("$candidate" -vV | sed -n 's/^host: //p')
    tools=$(sysroot_of "$candidate")/lib/rustlib/$host/bin
    if [[ -x $tools/wasm-component-ld && -x $tools/gcc-ld/wasm-ld ]]; then
        linker=$tools/wasm-component-ld
        PATH=$PATH:$tools/gcc-ld
        break
    fi
done < <(printf '%s\n' "$rustc" && type -ap rustc)
[[ -n $linker ]] || fail "no wasm-component-ld with a wasm-ld beside it: install a Rust toolchain by rustup (https://rustup.rs), which brings both"

locked=()
[[ -f Cargo.lock ]] && locked=(--locked)
target_dir=${CARGO_TARGET_DIR:-target}
# Std's default stack of 1 MiB is touched anew by every call's fresh instance; 64 KiB is plenty.
env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS RUSTC="$rustc" PATH="$PATH" \
    "$cargo" build --quiet --release "${locked[@]}" "${build_std[@]}" --target "$target" --target-dir "$target_dir" \
    --config "target.$target.linker=\"$linker\"" \
    --config "target.$target.rustflags=[\"-Clink-arg=-zstack-size=65536\"]"

name=$(sed -n 's/^name = "\(.*\)"/\1/p' Cargo.toml | head -n 1)
cp "$target_dir/$target/release/${name//-/_}.wasm" "$out"
