#!/usr/bin/env bash
# Lists every task that bears all these labels, newest first:
#   tasks.sh team:platform build:4711
set -euo pipefail

gateway=${GATEHOUSE_URL:-http://127.0.0.1:8080}
# The key reaches curl by its input: arguments are for everybody to see.
ask() {
  curl -sS --fail-with-body "$@" \
    --config <([ -z "${GATEHOUSE_API_KEY-}" ] || printf 'header = "Authorization: Bearer %s"' "$GATEHOUSE_API_KEY")
}

labels=()
for label in "$@"; do labels+=(--data-urlencode "label=$label"); done
cursor=
while :; do
  page=$(ask -G "$gateway/tasks" "${labels[@]}" -d "limit=${LIMIT:-200}" --data-urlencode "cursor=$cursor")
  jq -r '.tasks[] | [.taskId, .status, .createdAt] | @tsv' <<<"$page"
  cursor=$(jq -r '.next // empty' <<<"$page")
  [ -n "$cursor" ] || break
done
