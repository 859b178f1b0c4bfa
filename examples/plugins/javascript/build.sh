#!/usr/bin/env bash
# Builds the component: ./build.sh [OUT]. What `gatehouse plugin build` runs.
# Needs npm; QuickJS and what puts it around plugin.js are installed once, into PLUGIN_TOOLS
# where that is set, else into .tools/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=${1:-plugin.wasm}
world=tool-permission
version=0.4.5

fail() {
    printf 'build: %s\n' "$*" >&2
    exit 1
}

tools=${PLUGIN_TOOLS:-$PWD/.tools}/componentize-qjs-$version
if ! [[ -x $tools/node_modules/.bin/componentize-qjs ]]; then
    type -p npm >/dev/null || fail "npm is missing: install Node.js (https://nodejs.org; on Debian \`apt-get install nodejs npm\`)"
    mkdir -p "$tools"
    npm install --prefix "$tools" --ignore-scripts --no-audit --no-fund --loglevel=error "componentize-qjs@$version" ||
        fail "npm could not install componentize-qjs $version; its message is above"
fi

# --stub-wasi: nothing of the system is imported. --sync: calls are plain calls, as the contract has them.
"$tools/node_modules/.bin/componentize-qjs" \
    --wit wit --world "$world" --js plugin.js --stub-wasi --sync --minify --output "$out" >/dev/null
