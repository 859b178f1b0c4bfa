#!/usr/bin/env bash
# Builds the shipped plugins as WebAssembly components: plugins/NAME -> plugins/dist/NAME.wasm.
# With --guests also the misbehaving guests of the tests: tests/guests/dist/NAME.wasm.
#
# Three things are needed, and looked for rather than assumed:
#   - the standard library for wasm32-unknown-unknown: the Rust toolchain's own; else rustup is
#     asked for it; else it is compiled from the source of a distribution's toolchain (Debian and
#     Ubuntu: rust-web-src, installed when that is possible);
#   - wasm-component-ld, the linker that makes a component of a module: part of every toolchain;
#   - wasm-ld, which that linker calls: the toolchain's, or its rust-lld under that name.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
target=wasm32-unknown-unknown
target_dir=$root/plugins/target
guests=no
# A toolchain that is pinned for this project is the one to ask.
cd "$root"

say() { printf 'build-plugins: %s\n' "$*"; }
fail() {
    printf 'build-plugins: %s\n' "$*" >&2
    exit 1
}

usage() {
    cat <<USAGE
Usage: scripts/build-plugins.sh [--guests]

Builds plugins/* into plugins/dist; with --guests also tests/guests into tests/guests/dist.
GATEHOUSE_PLUGIN_TOOLCHAIN=installed|rustup|source tries only that way to the standard library.
USAGE
}

for argument in "$@"; do
    case $argument in
    --guests) guests=yes ;;
    -h | --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        exit 2
        ;;
    esac
done

# --- the toolchain --------------------------------------------------------------------------------

has_std() { compgen -G "$1/lib/rustlib/$target/lib/libstd-*.rlib" >/dev/null; }
has_source() { [[ -f $1/lib/rustlib/src/rust/library/Cargo.toml ]]; }
sysroot_of() { "$1" --print sysroot 2>/dev/null; }
every_rustc() { type -ap rustc | awk '!seen[$0]++'; }
wants() { [[ ${GATEHOUSE_PLUGIN_TOOLCHAIN:-$1} == "$1" ]]; }

# Sets `rustc` to the first compiler whose sysroot passes the check.
find_rustc() {
    local check=$1 candidate sysroot
    while read -r candidate; do
        sysroot=$(sysroot_of "$candidate") || continue
        if "$check" "$sysroot"; then
            rustc=$candidate
            return 0
        fi
    done < <(every_rustc)
    return 1
}

# rustup knows the toolchain in use; one that is not rustup's cannot be extended. A machine that may
# not download must not hang here.
ask_rustup() {
    type -p rustup >/dev/null || return 1
    say "asking rustup for the standard library of $target"
    timeout 60 rustup target add "$target" >/dev/null 2>&1
}

install_source() {
    type -p apt-get >/dev/null || return 1
    local -a as_root=()
    if [[ $(id -u) != 0 ]]; then
        type -p sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        as_root=(sudo -n)
    fi
    say "installing rustc-web, cargo-web and rust-web-src by apt-get"
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive \
        timeout 600 apt-get install -y -q --no-install-recommends rustc-web cargo-web rust-web-src \
        >/dev/null 2>&1
}

rustc=
build_std=()
if wants installed && find_rustc has_std; then
    :
elif wants rustup && ask_rustup && find_rustc has_std; then
    :
elif wants source && { find_rustc has_source || { install_source && find_rustc has_source; }; }; then
    # Compiling the standard library is an unstable feature of cargo; the stable compiler that it
    # belongs to is told to allow it.
    build_std=(-Z "build-std=std,panic_abort")
    export RUSTC_BOOTSTRAP=1
else
    fail "no standard library for $target: install it with \`rustup target add $target\`, or on Debian or Ubuntu \`apt-get install rustc-web cargo-web rust-web-src\`, and run this again"
fi

cargo=$(dirname "$rustc")/cargo
[[ -x $cargo ]] || cargo=$(type -p cargo) || fail "there is $rustc but no cargo: install cargo beside it"

# --- the linker -----------------------------------------------------------------------------------

host_tools() {
    local host
    host=$("$1" -vV | sed -n 's/^host: //p')
    printf '%s/lib/rustlib/%s/bin' "$(sysroot_of "$1")" "$host"
}

# The compiler's own linker first, another installed toolchain's where it has none.
find_linker() {
    local candidate tools
    while read -r candidate; do
        tools=$(host_tools "$candidate") || continue
        [[ -x $tools/wasm-component-ld ]] || continue
        linker=$tools/wasm-component-ld
        if [[ -x $tools/gcc-ld/wasm-ld ]]; then
            linker_path=$tools/gcc-ld
            return 0
        fi
        # Debian ships rust-lld without the name under which it links WebAssembly.
        local lld
        for lld in "$tools/rust-lld" "$(dirname "$candidate")/rust-lld"; do
            if [[ -x $lld ]]; then
                linker_path=$target_dir/linker
                mkdir -p "$linker_path"
                ln -sfn "$(readlink -f "$lld")" "$linker_path/wasm-ld"
                return 0
            fi
        done
    done < <(printf '%s\n' "$rustc" && every_rustc)
    return 1
}

linker=
linker_path=
find_linker || fail "no wasm-component-ld with a wasm-ld beside it: install a Rust toolchain by rustup (https://rustup.rs), which brings both"

# --- the build ------------------------------------------------------------------------------------

# Std's default stack of 1 MiB is touched anew by every call's fresh instance; 64 KiB is plenty.
# Paths are remapped, so that the same source gives the same digest on every machine.
cargo_home=${CARGO_HOME:-$HOME/.cargo}
options=(
    --release --locked --target "$target" --target-dir "$target_dir"
    --config "target.$target.linker=\"$linker\""
    --config "target.$target.rustflags=[
        \"-Clink-arg=-zstack-size=65536\",
        \"--remap-path-prefix=$cargo_home=/cargo\",
        \"--remap-path-prefix=$(sysroot_of "$rustc")=/rust\",
        \"--remap-path-prefix=$root=/gatehouse\"]"
)

build() {
    env -u RUSTFLAGS -u CARGO_ENCODED_RUSTFLAGS RUSTC="$rustc" PATH="$PATH:$linker_path" \
        "$cargo" build "$@" "${build_std[@]}" "${options[@]}"
}

# Copies a component only where it changed: who watches the folder is not woken for nothing.
deliver() {
    local from=$1 to=$2
    mkdir -p "$(dirname "$to")"
    cmp -s "$from" "$to" || cp "$from" "$to"
    say "$(printf '%-18s %9d bytes  %s' "$(basename "$to" .wasm)" "$(stat -c %s "$to")" "${to#"$root"/}")"
}

say "compiler $("$rustc" --version)${build_std:+, standard library from source}"
started=$SECONDS

(cd "$root/plugins" && build --lib)
for crate in "$root"/plugins/*/; do
    # A library that plugins share is no plugin.
    grep -qs cdylib "$crate/Cargo.toml" || continue
    name=$(basename "$crate")
    deliver "$target_dir/$target/release/${name//-/_}.wasm" "$root/plugins/dist/$name.wasm"
done

if [[ $guests == yes ]]; then
    (cd "$root/tests/guests" && build --examples)
    for source in "$root"/tests/guests/examples/*.rs; do
        name=$(basename "$source" .rs)
        deliver "$target_dir/$target/release/examples/${name//-/_}.wasm" "$root/tests/guests/dist/$name.wasm"
    done
fi

say "done in $((SECONDS - started)) s"
