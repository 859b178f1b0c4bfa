#!/usr/bin/env bash
# From a fresh clone to a coding task that went through Gatehouse, in one command.
#   ./scripts/quickstart.sh           sets up, runs the first task, leaves the gateway serving
#   ./scripts/quickstart.sh --once    ends the gateway after the task
# With ANTHROPIC_API_KEY set the task talks to the real API; without it to a scripted model on
# loopback that plays one conversation and says so.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"

once=false
case "${1:-}" in
  '') ;;
  --once) once=true ;;
  *) fail "usage: $0 [--once]" ;;
esac

task=examples/tasks/01-haiku.json
scenario=examples/scenarios/quickstart.json
logs=.gatehouse/quickstart
pids=()
end() {
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null || true; done
}
trap end EXIT
trap 'exit 130' INT TERM

# Waits for the first line of a program that says where it listens; prints the address.
address_of() {
  local file=$1 pid=$2 line
  for _ in $(seq 300); do
    line=$(grep -m 1 -o 'http://[0-9.:]*' "$file" 2>/dev/null || true)
    [ -n "$line" ] && { printf '%s' "$line"; return; }
    kill -0 "$pid" 2>/dev/null || break
    sleep 0.1
  done
  return 1
}

./scripts/setup.sh
step "Building the gateway (the first time takes several minutes)"
# The checks name what they have built already; anything else would be built again.
read -ra build <<<"${GATEHOUSE_BUILD:---locked -p gatehouse -p scripted-model}"
cargo build --quiet "${build[@]}" --bins || fail "the build failed; its messages are above"
./scripts/build-plugins.sh

gatehouse=target/debug/gatehouse
mkdir -p "$logs"

if [ -n "${ANTHROPIC_API_KEY:-}" ]; then
  step "Model: the real API, with your ANTHROPIC_API_KEY; this task costs a few cents"
else
  step "Model: scripted. No ANTHROPIC_API_KEY is set, so a small server on loopback plays $scenario"
  target/debug/scripted-model --scenario "$scenario" --listen 127.0.0.1:0 >"$logs/model.log" 2>&1 &
  pids+=($!)
  GATEHOUSE_ANTHROPIC_URL=$(address_of "$logs/model.log" $!) || fail "the scripted model did not start; see $logs/model.log"
  export GATEHOUSE_ANTHROPIC_URL ANTHROPIC_API_KEY=sk-ant-quickstart-without-a-key
fi

step "Starting the gateway"
listen=127.0.0.1:${PORT:-8080}
if (exec 3<>"/dev/tcp/127.0.0.1/${PORT:-8080}") 2>/dev/null; then
  note "port ${PORT:-8080} is in use; taking a free one"
  listen=127.0.0.1:0
fi
# The gateway itself never needs the caller's key: the request brings it.
env -u ANTHROPIC_API_KEY "$gatehouse" serve --listen "$listen" >"$logs/gateway.out" 2>"$logs/gateway.log" &
pids+=($!)
url=$(address_of "$logs/gateway.out" $!) || { tail -n 20 "$logs/gateway.log" >&2; fail "the gateway did not start; its log is $logs/gateway.log"; }
note "$url   log: $logs/gateway.log"

step "Running $task through $url/run"
"$gatehouse" run "$task" --url "$url" | tee "$logs/story.txt" || fail "the task did not complete; see $logs/gateway.log"

id=$(sed -n 's/.*task.* \(sync-[0-9a-f-]*\).*/\1/p' "$logs/story.txt" | head -n 1)
bucket=.gatehouse/bucket
step "Where everything lies"
note "record     $bucket/sessions/$id/metadata.json     $url/tasks/$id"
note "events     $bucket/sessions/$id/*.jsonl           $url/tasks/$id/events"
note "decisions  $bucket/sessions/$id/decisions.jsonl   $url/tasks/$id/decisions"
note "artefacts  $bucket/files/$id/"
step "What to try next"
note "curl -N $url/tasks/$id/events                 # the same stream again"
note "curl $url/plugins                             # what decides here"
note "\$EDITOR plugins/manifest.toml                 # the rules; then start again"
note "docs/tutorial/first-task.md                   # the same by hand, step by step"

if $once; then exit 0; fi
step "The gateway goes on serving at $url; Ctrl-C ends it"
wait "${pids[-1]}"
