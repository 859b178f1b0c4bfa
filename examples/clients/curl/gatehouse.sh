#!/usr/bin/env bash
# A client of Gatehouse by curl. Secrets reach other programs by their input, never by their arguments.
set -euo pipefail

gateway=${GATEHOUSE_URL:-http://127.0.0.1:8080}
usage="usage: gatehouse.sh run PROMPT | run-async PROMPT | cancel TASK_ID"

# Repeats what found no answer; curl does so for 408, 429 and 5xx, too.
ask() {
  curl -sS --fail-with-body --retry 5 --retry-connrefused "$@" \
    --config <([ -z "${GATEHOUSE_API_KEY-}" ] || printf 'header = "Authorization: Bearer %s"' "$GATEHOUSE_API_KEY")
}

# A key of its own makes the request safe to repeat: it starts one task.
start() { # start PATH CALLBACK_URL [OPTION…]; the prompt is $PROMPT
  local path=$1 callback=$2
  shift 2
  CALLBACK=$callback jq -n '{prompt: $ENV.PROMPT, anthropicApiKey: $ENV.ANTHROPIC_API_KEY}
      + if $ENV.CALLBACK == "" then {} else {callbackUrl: $ENV.CALLBACK} end' |
    ask "$gateway$path" -H 'Content-Type: application/json' -H "Idempotency-Key: $(openssl rand -hex 16)" \
      --data-binary @- "$@"
}

# Reads events until the connection ends: notes the last number in $last and the report in $report.
# An event counts from the empty line that ends it: the connection may break within one.
follow() {
  local name='' number='' data='' line
  while IFS= read -r line || [ -n "$line" ]; do
    case $line in
      'event: '*) name=${line#*: } ;;
      'id: '*) number=${line#*: } ;;
      'data: '*) data=${line#*: } ;;
      '')
        if [ "$name" = "done" ]; then report=$data && return; fi
        if [ -n "$number" ]; then
          last=$number
          jq -r 'select(.type == "assistant") | .message.content[] | .text // empty' <<<"$data"
        fi
        name='' number='' data=''
        ;;
      '{'*) jq -r .error <<<"$line" >&2 ;; # no event, but why there is none
    esac
  done
}

run() {
  last=0 report=
  follow < <(start /run '' -N -D "$scratch/head")
  local id
  id=$(tr -d '\r' <"$scratch/head" | sed -n 's/^x-task-id: //ip')
  [ -n "$id" ] || exit 1
  until [ -n "$report" ]; do
    # Without `done` it was the connection that ended, not the task.
    echo "reconnecting after event $last" >&2
    sleep 0.5
    follow < <(ask -N "$gateway/tasks/$id/events" -H "Last-Event-ID: $last")
  done
  finish
}

hex() { od -An -v -tx1 | tr -d ' \n'; }
sha256() { openssl dgst -sha256 -binary; }

bytes() { # bytes HEX
  local place
  for ((place = 0; place < ${#1}; place += 2)); do printf '%b' "\\x${1:place:2}"; done
}

# The key's bytes, each changed by the pad's, to a whole block.
padded() { # padded KEY_IN_HEX PAD
  local bytes='' place byte
  for ((place = 0; place < 128; place += 2)); do
    byte=${1:place:2}
    printf -v byte '\\x%02x' $((16#${byte:-00} ^ $2))
    bytes+=$byte
  done
  printf '%b' "$bytes"
}

# HMAC-SHA256 of the input. openssl would take the key as an argument, for everybody to see.
hmac() { # hmac KEY_IN_HEX
  local key=$1
  [ ${#key} -le 128 ] || key=$(bytes "$key" | sha256 | hex)
  { padded "$key" 0x5c; { padded "$key" 0x36; cat; } | sha256; } | sha256
}

# Compares under a random key, so that the time it takes tells nothing of either.
same() {
  local key
  key=$(openssl rand -hex 32)
  [ "$(printf %s "$1" | hmac "$key" | hex)" = "$(printf %s "$2" | hmac "$key" | hex)" ]
}

is_genuine() { # is_genuine BODY_FILE; the headers are in $headers
  local id=${headers[webhook-id]-} at=${headers[webhook-timestamp]-} key given age expected
  [[ $at =~ ^[0-9]{1,12}$ ]] || return 1
  age=$(($(date +%s) - at))
  [ "${age#-}" -le 300 ] || return 1

  # One family is enough; this shows both.
  key=$(printf %s "$CLOUDRUN_CALLBACK_SECRET" | hex)
  expected=sha256=$({ printf '%s.' "$at"; cat "$1"; } | hmac "$key" | hex)
  [ "${headers[x-webhook-timestamp]-}" = "$at" ] && same "$expected" "${headers[x-webhook-signature]-}" || return 1

  case $CLOUDRUN_CALLBACK_SECRET in
    whsec_*) key=$(printf %s "${CLOUDRUN_CALLBACK_SECRET#whsec_}" | openssl base64 -d -A | hex) ;;
  esac
  expected=v1,$({ printf '%s.%s.' "$id" "$at"; cat "$1"; } | hmac "$key" | openssl base64 -A)
  # During a change of secrets there are several.
  for given in ${headers[webhook-signature]-}; do
    if same "$expected" "$given"; then return 0; fi
  done
  return 1
}

# Takes one request from socat: verified as it came, and only then read.
receive() {
  local line name body
  declare -A headers=()
  body=$(mktemp -p "$scratch")
  read -r _
  while IFS= read -r line && line=${line%$'\r'} && [ -n "$line" ]; do
    name=${line%%:*}
    headers[${name,,}]=${line#*: }
  done
  head -c "${headers[content-length]:-0}" >"$body"
  if is_genuine "$body"; then
    printf 'HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n'
    mv "$body" "$scratch/report"
  else
    printf 'HTTP/1.1 401 Unauthorized\r\nConnection: close\r\nContent-Length: 0\r\n\r\n'
  fi
}

run_async() {
  export scratch
  socat -d -d TCP-LISTEN:0,bind=127.0.0.1,fork EXEC:"'$0' receive" 2>"$scratch/socat" &
  receiver=$!
  local port=''
  until [ -n "$port" ]; do
    sleep 0.1
    port=$(sed -n 's/.*listening on .*:\([0-9]*\)$/\1/p' "$scratch/socat")
  done
  echo "receiving at http://127.0.0.1:$port/" >&2
  start /run-async "http://127.0.0.1:$port/" | jq -r '"started \(.taskId)"' >&2
  until [ -e "$scratch/report" ]; do sleep 0.2; done
  report=$(<"$scratch/report")
  finish
}

finish() {
  jq -r '"\(.taskId) \(.status): \(.result // .error)"' <<<"$report"
  exit "$(jq .exitCode <<<"$report")"
}

if [ "${1-}" = receive ]; then
  receive
  exit
fi
[ $# = 2 ] || { echo "$usage" >&2; exit 64; }
scratch=$(mktemp -d)
receiver=
trap '[ -z "$receiver" ] || kill "$receiver" 2>/dev/null; rm -rf "$scratch"' EXIT
export PROMPT=$2
case $1 in
  run) run ;;
  run-async) run_async ;;
  cancel) ask -X POST "$gateway/cancel/$2" | jq -r .message ;;
  *) echo "$usage" >&2; exit 64 ;;
esac
