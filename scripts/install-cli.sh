#!/usr/bin/env bash
# Installs the pinned Claude Code CLI into ./tools, for this project only.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

version=2.1.330
binary() { find "$ROOT/tools/node_modules/@anthropic-ai" -path '*/claude-code-linux-*/claude' -type f 2>/dev/null | head -n 1; }

if [ -n "$(binary)" ] && [ "$("$(binary)" --version 2>/dev/null | cut -d' ' -f1)" = "$version" ]; then
  exit 0
fi
command -v npm >/dev/null || fail "npm is missing: install Node.js with npm (Debian: apt-get install nodejs npm)"
step "Installing the Claude Code CLI $version into ./tools (about 380 MB)"
mkdir -p "$ROOT/tools"
cp "$ROOT/scripts/cli/package.json" "$ROOT/scripts/cli/package-lock.json" "$ROOT/tools/"
npm ci --prefix "$ROOT/tools" --ignore-scripts --no-audit --no-fund --loglevel=error ||
  fail "npm could not install the CLI; see its message above"
[ -n "$(binary)" ] || fail "the package holds no binary for this platform ($(uname -sm)); the CLI runs on Linux x64 and arm64"
note "$("$(binary)" --version)"
