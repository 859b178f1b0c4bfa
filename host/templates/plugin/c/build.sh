#!/usr/bin/env bash
# Builds the component: ./build.sh [OUT]. What `gatehouse plugin build` runs.
# Needs clang, wasm-ld and wasi-libc (on Debian: clang lld wasi-libc libclang-rt-dev-wasm32), and a Rust
# toolchain by rustup, whose wasm-component-ld makes the component. wit-bindgen is installed once by
# cargo, into PLUGIN_TOOLS where that is set, else into .tools/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=${1:-plugin.wasm}
world={{world}}
version=0.61.1

fail() {
    printf 'build: %s\n' "$*" >&2
    exit 1
}
packages="clang lld wasi-libc libclang-rt-dev-wasm32"
for program in clang wasm-ld; do
    type -p "$program" >/dev/null || fail "$program is missing: on Debian \`apt-get install $packages\`"
done

tools=${PLUGIN_TOOLS:-$PWD/.tools}/wit-bindgen-$version
if ! [[ -x $tools/bin/wit-bindgen ]]; then
    type -p cargo >/dev/null || fail "cargo is missing, by which wit-bindgen is installed: see https://rustup.rs"
    cargo install --quiet --locked --root "$tools" --no-default-features --features c "wit-bindgen-cli@$version" ||
        fail "cargo could not install wit-bindgen $version; its message is above"
fi

linker=
while read -r rustc; do
    host=$("$rustc" -vV | sed -n 's/^host: //p')
    candidate=$("$rustc" --print sysroot)/lib/rustlib/$host/bin/wasm-component-ld
    if [[ -x $candidate ]]; then
        linker=$candidate
        break
    fi
done < <(type -ap rustc)
[[ -n $linker ]] || fail "no wasm-component-ld: install a Rust toolchain by rustup (https://rustup.rs), which brings it"

mkdir -p build
"$tools/bin/wit-bindgen" c wit --world "$world" --out-dir build 2>build/bindings.log ||
    fail "wit-bindgen refuses wit/: $(tail -n 3 build/bindings.log)"
bindings=build/${world//-/_}
compile=(clang --target=wasm32-wasi -O2 -Wall -Wextra -Werror -Ibuild -c)
"${compile[@]}" -Wno-unused-parameter "$bindings.c" -o build/bindings.o
"${compile[@]}" plugin.c -o build/plugin.o

library=$(clang --target=wasm32-wasi -print-file-name=libc.a)
[[ -f $library ]] || library=/usr/lib/wasm32-wasi/libc.a
builtins=$(clang --target=wasm32-wasi -print-libgcc-file-name)
[[ -f $library && -f $builtins ]] || fail "wasi-libc or the compiler's runtime is missing: on Debian \`apt-get install $packages\`"
# A small stack: it is touched anew by every call's fresh instance.
"$linker" --wasm-ld-path "$(type -p wasm-ld)" --no-entry --strip-all -z stack-size=65536 \
    build/plugin.o build/bindings.o "${bindings}_component_type.o" "$library" "$builtins" -o "$out"
