#!/usr/bin/env bash
# Keeps settings of several projects, one file each, and says which of them the other scripts use.
#   ./scripts/project.sh list                  those that are there; the one in use is marked
#   ./scripts/project.sh use NAME              from now on NAME, for gcloud too
#   ./scripts/project.sh add NAME [KEY=VALUE…] a new one; asks for what is not given where somebody can answer
#   ./scripts/project.sh current               the one in use
#   ./scripts/project.sh info [NAME]           its settings, without secrets
#   ./scripts/project.sh remove NAME [--yes]   forgets its settings; nothing in the cloud changes
# Also: ls, switch, create, show, rm, delete. The files are projects/NAME.env; .env leads to the one in use.
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
# What is written here may come to hold secrets.
umask 077

SECRETS='CLOUDRUN_CALLBACK_SECRET|GATEHOUSE_ADMIN_KEY|GATEHOUSE_API_KEYS|ANTHROPIC_API_KEY|ANTHROPIC_OAUTH_TOKEN'
SECRETS+='|CLAUDE_CODE_OAUTH_TOKEN|GATEHOUSE__AUTH__.*|GATEHOUSE__WEBHOOK__SECRET|GATEHOUSE__PLUGINS__REGISTRIES'

usage() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$ROOT/scripts/project.sh"; }
file_of() { # file_of NAME
  [[ $1 =~ ^[a-z0-9][a-z0-9-]{0,39}$ ]] || fail "'$1' is no name for a project's settings: expected small letters, digits and hyphens"
  printf 'projects/%s.env' "$1"
}
existing() { # existing NAME
  local file
  file=$(file_of "$1")
  [ -e "$file" ] || fail "there is no $file; './scripts/project.sh list' shows those that are there"
  printf '%s' "$file"
}
current() { cat .current-project 2>/dev/null || true; }
# Gatehouse reads the names after GATEHOUSE__ in small letters too.
is_secret() { [[ ${1^^} =~ ^($SECRETS)$ ]]; }
value_of() { sed -n "s/^$2=//p" "$1" | tail -n 1; }

list() {
  local file name marked found=false
  for file in projects/*.env; do
    [ -e "$file" ] || continue
    found=true name=$(basename "$file" .env) marked=' '
    [ "$name" != "$(current)" ] || marked='*'
    printf '%s %-24s %s\n' "$marked" "$name" "$(value_of "$file" PROJECT_ID)"
  done
  $found || note "none yet: ./scripts/project.sh add NAME"
}

use() {
  local file
  file=$(existing "$1")
  if [ -e .env ] && [ ! -L .env ]; then fail ".env is a file of its own: move it to projects/NAME.env first, so that it is not lost"; fi
  ln -sfn "$file" .env
  printf '%s\n' "$1" >.current-project
  if command -v gcloud >/dev/null; then
    gcloud config set project "$(value_of "$file" PROJECT_ID)" --quiet >/dev/null 2>&1 ||
      note "gcloud did not take the project over; the scripts name it each time all the same"
  fi
  note "in use: $1, project $(value_of "$file" PROJECT_ID)"
}

# The value of KEY: as given, else as answered, else the default.
ask() { # ask KEY DEFAULT QUESTION
  local answer=${given[$1]:-}
  if [ -z "$answer" ] && [ -t 0 ]; then
    read -rp "$3${2:+ [$2]}: " answer
  fi
  printf '%s' "${answer:-$2}"
}

add() {
  local name=$1 file pair key value default
  shift
  file=$(file_of "$name")
  [ ! -e "$file" ] || fail "$file is there already; edit it, or remove it first"
  declare -A given=()
  for pair; do
    [[ $pair =~ ^[A-Z][A-Z0-9_]*=.*$ ]] || fail "'$pair' is not understood: expected KEY=VALUE, with a key of .env.example"
    # Everybody on this machine sees arguments, and shells keep them.
    if is_secret "${pair%%=*}"; then fail "'${pair%%=*}' is a secret, which no argument may hold: leave it out, then write it into $file"; fi
    grep -qE "^#? ?${pair%%=*}=" "$ROOT/.env.example" || fail "'${pair%%=*}' is no setting of .env.example"
    given[${pair%%=*}]=${pair#*=}
  done
  given[PROJECT_ID]=$(ask PROJECT_ID '' "Project id of Google Cloud")
  [[ ${given[PROJECT_ID]} =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] || fail "PROJECT_ID is '${given[PROJECT_ID]}': expected the id of a project, e.g. ./scripts/project.sh add $name PROJECT_ID=my-project-1"
  given[REGION]=$(ask REGION europe-west3 Region)
  given[GCS_LOGS_BUCKET]=$(ask GCS_LOGS_BUCKET "${given[PROJECT_ID]}-gatehouse" "Bucket, a name that no bucket in the world has")
  given[SERVICE_NAME]=$(ask SERVICE_NAME "$name-agent" "Name of the service")
  mkdir -p projects
  sed 's/[[:space:]]*$//' "$ROOT/.env.example" >"$file"
  for key in "${!given[@]}"; do
    printf -v value '%q' "${given[$key]}"
    default=$(grep -nE "^#? ?$key=" "$file" | head -n 1 | cut -d: -f1)
    KEY_VALUE="$key=$value" awk -v line="$default" 'NR == line { print ENVIRON["KEY_VALUE"]; next } { print }' "$file" >"$file.new"
    mv "$file.new" "$file"
  done
  note "made $file; everything else in it has its default"
  use "$name"
}

info() {
  local name=${1:-$(current)} file line
  [ -n "$name" ] || fail "no project is in use: ./scripts/project.sh use NAME"
  file=$(existing "$name")
  printf '%s\n' "$name"
  while IFS= read -r line; do
    if is_secret "${line%%=*}" && [ -n "${line#*=}" ]; then line="${line%%=*}=(set)"; fi
    printf '  %s\n' "$line"
  done < <(grep -E '^[A-Z][A-Za-z0-9_]*=' "$file")
}

remove() {
  local file typed
  file=$(existing "$1")
  if [ "${2:-}" != --yes ]; then
    printf 'This forgets the settings in %s; nothing in the cloud changes. Type the name to go on: ' "$file" >&2
    read -r typed || typed=
    [ "$typed" = "$1" ] || fail "nothing was removed"
  fi
  rm "$file"
  if [ "$(current)" = "$1" ]; then rm -f .current-project .env; fi
  note "removed $file"
}

command=${1:-}
[ $# = 0 ] || shift
case $command in
  list | ls) list ;;
  use | switch) [ $# = 1 ] || fail "which one? ./scripts/project.sh use NAME"; use "$1" ;;
  add | create) [ $# -ge 1 ] || fail "under which name? ./scripts/project.sh add NAME"; add "$@" ;;
  current) [ -n "$(current)" ] || fail "no project is in use: ./scripts/project.sh use NAME"; current ;;
  info | show) info "$@" ;;
  remove | rm | delete) [ $# -ge 1 ] || fail "which one? ./scripts/project.sh remove NAME"; remove "$@" ;;
  -h | --help) usage ;;
  *) usage >&2; exit 1 ;;
esac
