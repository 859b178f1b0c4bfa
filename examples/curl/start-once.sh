#!/usr/bin/env bash
# Starts a task once, however often it is run with the same arguments within 24 hours:
#   start-once.sh ../tasks/12-reports.json nightly-2026-01-02
# ANTHROPIC_API_KEY is added to the request, and CALLBACK_URL, where the report is to go.
set -euo pipefail

gateway=${GATEHOUSE_URL:-http://127.0.0.1:8080}
# The key reaches curl by its input: arguments are for everybody to see.
ask() {
  curl -sS --fail-with-body "$@" \
    --config <([ -z "${GATEHOUSE_API_KEY-}" ] || printf 'header = "Authorization: Bearer %s"' "$GATEHOUSE_API_KEY")
}

jq -c '. + {anthropicApiKey: $ENV.ANTHROPIC_API_KEY, callbackUrl: $ENV.CALLBACK_URL}' "$1" |
  ask "$gateway/run-async" -H 'Content-Type: application/json' -H "Idempotency-Key: $2" \
    --retry 5 --retry-connrefused --data-binary @- | jq -r .taskId
