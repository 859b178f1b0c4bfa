#!/usr/bin/env bash
# Builds the component: ./build.sh [OUT]. What `gatehouse plugin build` runs.
# Needs python3 with venv; CPython and what puts it around plugin.py are installed once, into
# PLUGIN_TOOLS where that is set, else into .tools/.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
out=${1:-plugin.wasm}
world=tool-permission
version=0.25.1

fail() {
    printf 'build: %s\n' "$*" >&2
    exit 1
}

tools=${PLUGIN_TOOLS:-$PWD/.tools}/componentize-py-$version
if ! [[ -x $tools/bin/componentize-py ]]; then
    type -p python3 >/dev/null || fail "python3 is missing: install Python 3.10 or later (on Debian \`apt-get install python3 python3-venv\`)"
    mkdir -p "$tools"
    python3 -m venv "$tools" || fail "python3 has no venv: on Debian \`apt-get install python3-venv\`"
    "$tools/bin/pip" install --quiet --disable-pip-version-check "componentize-py==$version" ||
        fail "pip could not install componentize-py $version; its message is above"
fi

# --stub-wasi: nothing of the system is imported.
"$tools/bin/componentize-py" --wit-path wit --world "$world" componentize --stub-wasi --output "$out" plugin >/dev/null
