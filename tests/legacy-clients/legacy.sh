#!/usr/bin/env bash
# A caller of the Node service, as its documents taught: nothing newer is used. legacy.sh URL CALLBACK_URL
set -euo pipefail
url=$1 callback=$2
request=$(jq -n --arg key "$ANTHROPIC_API_KEY" '{prompt: "hello", anthropicApiKey: $key, maxTurns: 6, allowedTools: ["Read"]}')
post() { curl -sS -N -X POST "$url$1" -H 'Content-Type: application/json' -d "$2"; }

[ "$(curl -sS "$url/health")" = ok ]
stream=$(post /run "$request")
if grep -q '^event: error' <<<"$stream"; then exit 1; fi
words=$(sed -n 's/^data: //p' <<<"$stream" | jq -r 'select(.type == "result") | .result')

accepted=$(post /run-async "$(jq --arg to "$callback" '. + {callbackUrl: $to}' <<<"$request")")
id=$(jq -er 'select(.status == "pending") | .taskId' <<<"$accepted")
for _ in $(seq 300); do
  curl -sS "$url/tasks/status" | jq -e --arg id "$id" 'all(.tasks[]; .taskId != $id)' >/dev/null && break
  sleep 0.2
done
post "/cancel/$id" '{}' | jq -e '.error // .message' >/dev/null
jq -nc --arg words "$words" '[$words]'
