#!/usr/bin/env bash
# Fetches every file that a task kept into a directory, and compares checksums:
#   artifacts.sh TASK_ID DIRECTORY
set -euo pipefail

gateway=${GATEHOUSE_URL:-http://127.0.0.1:8080}
# The key reaches curl by its input: arguments are for everybody to see.
ask() {
  curl -sS --fail-with-body "$@" \
    --config <([ -z "${GATEHOUSE_API_KEY-}" ] || printf 'header = "Authorization: Bearer %s"' "$GATEHOUSE_API_KEY")
}

ask "$gateway/tasks/$1/artifacts" | jq -r '.artifacts[] | [.sha256, .path] | @tsv' |
  while IFS=$'\t' read -r sha256 path; do
    mkdir -p "$2/$(dirname "$path")"
    # What a URL cannot hold as it is, but for the slashes.
    ask "$gateway/tasks/$1/artifacts/$(jq -rn --arg path "$path" '$path | @uri | gsub("%2F"; "/")')" -o "$2/$path"
    (cd "$2" && printf '%s  %s\n' "$sha256" "$path" | sha256sum --check)
  done
