#!/usr/bin/env bash
# Tries a gateway out with real tasks, and says by its exit code whether they came to a good end.
#   ./scripts/test.sh auth          who asks, and whether service, job, key and bucket are there for them
#   ./scripts/test.sh local         a task by /run on this machine ($GATEHOUSE_URL, by default http://127.0.0.1:8080)
#   ./scripts/test.sh remote        the same at the Cloud Run service
#   ./scripts/test.sh remote-async  a task that nobody listens to, looked at by GET /tasks/ID: by /run-async where
#                                   CALLBACK_URL names a receiver, else by /run with "detach": true
#   ./scripts/test.sh examples      each of examples/tasks, at $GATEHOUSE_URL, else on this machine
#   ./scripts/test.sh all           auth, remote, remote-async
# ANTHROPIC_API_KEY (or ANTHROPIC_OAUTH_TOKEN) pays for the tasks; GATEHOUSE_API_KEY is shown where the gateway wants
# one. TEST_TIMEOUT (seconds, 600) is how long a task may take. Exit code 0: all that was tried is well.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

what=${1:-}
case $what in
  auth | local | remote | remote-async | examples | all) [ $# = 1 ] || fail "one thing at a time; see $0 --help" ;;
  *) sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; [ "$what" = --help ] || [ "$what" = -h ] || exit 1; exit 0 ;;
esac
for program in curl jq; do command -v "$program" >/dev/null || fail "$program is missing: install it (Debian: apt-get install $program)"; done

anthropic_key=${ANTHROPIC_API_KEY:-} anthropic_token=${ANTHROPIC_OAUTH_TOKEN:-}
timeout=${TEST_TIMEOUT:-600} gateway=${GATEHOUSE_URL:-http://127.0.0.1:8080} identity=
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
passed=0 failed=0
pass() { passed=$((passed + 1)); note "passed: $*"; }
miss() { failed=$((failed + 1)); printf '%s    FAILED: %s%s\n' "$RED" "$*" "$RESET" >&2; }

# Asks the gateway. Keys go by a file that is no argument.
ask() {
  curl -sS --max-time "$timeout" --config <(
    [ -z "$identity" ] || printf 'header = "X-Serverless-Authorization: Bearer %s"\n' "$identity"
    [ -z "${GATEHOUSE_API_KEY-}" ] || printf 'header = "X-Api-Key: %s"\n' "$GATEHOUSE_API_KEY"
  ) "$@"
}

# A request with the caller's credential; $1: file, $2: what is added.
request() {
  [ -n "$anthropic_key$anthropic_token" ] || fail "nobody pays for the task: set ANTHROPIC_API_KEY or ANTHROPIC_OAUTH_TOKEN"
  KEY=$anthropic_key TOKEN=$anthropic_token jq --argjson more "$2" '. + $more
    + (if $ENV.KEY != "" then {anthropicApiKey: $ENV.KEY} else {anthropicOAuthToken: $ENV.TOKEN} end)' "$1"
}

# Whether a report or record says that the task came to a good end; says what it says.
is_well() { # is_well NAME JSON
  local status exit_code reason
  status=$(jq -r '.status // "none"' <<<"$2" 2>/dev/null) || status=none
  exit_code=$(jq -r '.exitCode // "none"' <<<"$2" 2>/dev/null) || exit_code=none
  reason=$(jq -r '.error // .reason // empty' <<<"$2" 2>/dev/null) || reason=
  if [ "$status" = completed ] && [ "$exit_code" = 0 ]; then
    pass "$1: completed, exit code 0"
  else
    miss "$1: status $status, exit code $exit_code${reason:+ ($reason)}"
  fi
}

# A task by /run: the stream has to end with the event "done", whose data is the report.
streamed() { # streamed NAME FILE
  local report
  request "$2" '{}' | ask -N "$gateway/run" -H 'Content-Type: application/json' --data-binary @- >"$scratch/stream" ||
    { miss "$1: the gateway did not answer, or the connection broke"; return; }
  report=$(awk '/^event: done/ { done = 1; next } done && /^data: / { print substr($0, 7); exit } /^$/ { done = 0 }' "$scratch/stream")
  if [ -z "$report" ]; then
    miss "$1: the stream ended without its report: $(head -c 300 "$scratch/stream" | tr '\n' ' ')"
  else
    is_well "$1" "$report"
  fi
}

# A task that nobody listens to, until GET /tasks/ID tells of its end.
polled() { # polled NAME FILE
  local id record end=$((SECONDS + timeout))
  if [ -n "${CALLBACK_URL-}" ]; then
    note "by /run-async, which reports to $CALLBACK_URL"
    request "$2" "$(jq -n --arg url "$CALLBACK_URL" '{callbackUrl: $url}')" |
      ask "$gateway/run-async" -H 'Content-Type: application/json' --data-binary @- >"$scratch/answer" || true
    id=$(jq -r '.taskId // empty' "$scratch/answer" 2>/dev/null) || id=
  else
    note "no CALLBACK_URL: by /run with detach, which is left as soon as the task is accepted"
    # The first event names the task; nobody reads on.
    id=$(request "$2" '{"detach": true}' | ask -N "$gateway/run" -H 'Content-Type: application/json' --data-binary @- 2>/dev/null |
      tee "$scratch/answer" | sed -n '/^data: /{s/^data: //p;q;}' | jq -r '.taskId // empty') || true
  fi
  if [ -z "$id" ]; then
    miss "$1: no task was accepted: $(head -c 300 "$scratch/answer" | tr '\n' ' ')"
    return
  fi
  while [ "$SECONDS" -lt "$end" ]; do
    record=$(ask "$gateway/tasks/$id") || record='{}'
    case $(jq -r '.status // empty' <<<"$record" 2>/dev/null) in
      completed | failed | cancelled) is_well "$1 ($id)" "$record"; return ;;
    esac
    sleep "${TEST_POLL:-2}"
  done
  miss "$1: $id had not come to its end after $timeout s"
}

answers() {
  # Cloud Run keeps /healthz for itself, so /health.
  if [ "$(ask "$gateway/health" 2>/dev/null)" = ok ]; then pass "$gateway answers"; else miss "$gateway/health did not answer 'ok'"; return 1; fi
  if ask -f -o /dev/null "$gateway/ready" 2>/dev/null; then pass "it takes tasks"; else miss "$gateway/ready says that it takes no tasks; see /health?verbose=true and /plugins"; return 1; fi
}

cloud() {
  # shellcheck source=scripts/cloud.sh
  source "$ROOT/scripts/cloud.sh"
  cloud_script
  trap 'rm -rf "$scratch" "$SCRATCH"' EXIT
  anthropic_key=${anthropic_key:-${ANTHROPIC_API_KEY:-}}
  need_gcloud
}

there() { # there NAME COMMAND…
  local name=$1
  shift
  if "$@" >/dev/null 2>"$scratch/said"; then pass "$name"; else miss "$name: $(head -n 1 "$scratch/said")"; fi
}

auth() {
  step "Who asks, and for what"
  cloud
  there "service $SERVICE_NAME" gcloud run services describe "${SERVICE[@]}" --format='value(status.url)'
  there "job $CLOUDRUN_JOB_NAME" gcloud run jobs describe "${JOB[@]}" --format='value(metadata.name)'
  there "bucket $GCS_LOGS_BUCKET" gcloud storage buckets describe "gs://$GCS_LOGS_BUCKET" "${IN_PROJECT[@]}" --format='value(name)'
  there "key $KMS_KEY_NAME" gcloud kms keys describe "$KMS_KEY_NAME" --keyring="$KMS_KEY_RING" --location="$KMS_LOCATION" "${IN_PROJECT[@]}" --format='value(name)'
  there "an identity token" gcloud auth print-identity-token
}

remote() {
  cloud
  answer gcloud run services describe "${SERVICE[@]}" --format='value(status.url)'
  gateway=$FOUND
  identity=$(gcloud auth print-identity-token) || fail "gcloud gave no identity token; see its message above"
}

task=$ROOT/examples/tasks/01-haiku.json
case $what in
  auth) auth ;;
  local) step "A task at $gateway"; if answers; then streamed "/run" "$task"; fi ;;
  remote) step "A task at the service"; remote; if answers; then streamed "/run" "$task"; fi ;;
  remote-async) step "A task that nobody listens to"; remote; if answers; then polled "in the background" "$task"; fi ;;
  examples)
    step "Examples at $gateway"
    if answers; then for file in "$ROOT"/examples/tasks/*.json; do streamed "$(basename "$file")" "$file"; done; fi ;;
  all)
    auth
    step "Tasks at the service"
    remote
    if answers; then streamed "/run" "$task"; polled "in the background" "$task"; fi ;;
esac
printf '%d passed, %d failed\n' "$passed" "$failed"
[ "$failed" = 0 ] && [ "$passed" -gt 0 ]
