#!/usr/bin/env bash
# The rules of the house that no compiler keeps.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

found=0
rule() { # rule "sentence" "offenders"
  [ -z "$2" ] && return
  printf '%s\n%s\n' "$1" "$2" >&2
  found=1
}
sources() { git ls-files --cached --others --exclude-standard '*.rs'; }

rule "Files over 600 lines (split along the domain):" \
  "$(sources | xargs wc -l | awk '$2 != "total" && $1 > 600')"
rule "A name that says nothing (utils, common, manager, helpers):" \
  "$(git ls-files --cached --others --exclude-standard | grep -E '(^|/)(utils?|common|managers?|helpers?)(\.rs|/)' || true)"
rule "wasmtime is named outside host/src/wasm:" \
  "$(grep -rlE 'wasmtime(_wasi)?::' host/src | grep -v '^host/src/wasm/' || true)"
rule "plugin/ or wasm/ knows HTTP:" \
  "$(grep -rlE '(axum|hyper|reqwest)::|crate::http' host/src/plugin host/src/wasm || true)"
rule "The environment is read outside the command line (but for PATH, to find the CLI):" \
  "$(grep -rnE 'env::vars?(_os)?\(' host/src | grep -vE '^host/src/cli/|var_os\("PATH"\)' || true)"
rule "A folder without a mod.rs that opens with its purpose:" \
  "$(for module in host/src/*/mod.rs; do head -n 1 "$module" | grep -q '^//! ' || echo "$module"; done)"
rule "The CLI's version differs between the script and the doctor:" \
  "$(version=$(sed -n 's/^version=//p' scripts/install-cli.sh); grep -rq "\"$version\"" host/src/cli || echo "$version")"
rule "A link in the documents leads nowhere:" "$(
  git ls-files --cached --others --exclude-standard '*.md' | while read -r page; do
    grep -oE '\]\([^)# ]+' "$page" | cut -c3- | grep -vE '^https?:' | while read -r target; do
      [ -e "$(dirname "$page")/$target" ] || echo "  $page -> $target"
    done || true
  done
)"
[ "$found" = 0 ] || fail "house rules are broken; see above"
note "kept"
