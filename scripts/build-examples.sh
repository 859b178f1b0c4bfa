#!/usr/bin/env bash
# Builds examples/plugins/* into components, each by its own build.sh; what has not changed is left alone.
# Toolchains that npm, pip and cargo bring are kept in tools/plugins.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

command -v npm >/dev/null || fail "npm is missing: install Node.js with npm (Debian: apt-get install nodejs npm)"
need python3
python3 -c 'import ensurepip' 2>/dev/null || install_packages python3-venv
need clang
need wasm-ld lld
[ -f "$(clang --target=wasm32-wasi -print-file-name=libc.a)" ] || [ -f /usr/lib/wasm32-wasi/libc.a ] || install_packages wasi-libc
[ -f "$(clang --target=wasm32-wasi -print-libgcc-file-name)" ] || install_packages libclang-rt-dev-wasm32

export PLUGIN_TOOLS="$ROOT/tools/plugins" CARGO_TARGET_DIR="$ROOT/target/plugin-projects"
for project in examples/plugins/*/; do
  [ -f "$project/build.sh" ] || continue
  component=$project/plugin.wasm
  newer=$(find "$project" -type f -newer "$component" -not -path '*/target/*' -not -path '*/build/*' -not -path '*/__pycache__/*' -not -name plugin.wasm 2>/dev/null || echo first)
  [ -n "$newer" ] || continue
  note "building $project"
  "$project/build.sh" plugin.wasm
done
