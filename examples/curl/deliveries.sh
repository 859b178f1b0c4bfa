#!/usr/bin/env bash
# Tells how a task's report reached its receiver, and has it sent once more where asked:
#   deliveries.sh TASK_ID [replay]
set -euo pipefail

gateway=${GATEHOUSE_URL:-http://127.0.0.1:8080}
# The key reaches curl by its input: arguments are for everybody to see.
ask() {
  curl -sS --fail-with-body "$@" \
    --config <([ -z "${GATEHOUSE_API_KEY-}" ] || printf 'header = "Authorization: Bearer %s"' "$GATEHOUSE_API_KEY")
}

[ "${2-}" != replay ] || ask -X POST "$gateway/tasks/$1/deliveries/replay" >/dev/null
ask "$gateway/tasks/$1/deliveries" |
  jq -r '.state, (.attempts[] | "\(.number)\t\(.at)\t\(.statusCode // .error // "under way")")'
