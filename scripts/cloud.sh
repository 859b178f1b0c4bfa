# shellcheck shell=bash
# Sourced by the scripts for Google Cloud: their settings, what they have in common, and how each step is
# made so that it can be repeated: look first, change only what differs, show every change.
#
#   cloud_script "$@"      takes --dry-run and --help out of the arguments; the rest is in ARGUMENTS
#   found COMMAND…         asks; the answer is in FOUND; false where there is no such thing
#   change COMMAND…        changes something; with --dry-run it is only shown
#   granted, withdrawn     a role of a member on one resource

# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

# Nobody answers questions of gcloud here; what is asked is asked by these scripts.
export CLOUDSDK_CORE_DISABLE_PROMPTS=1

# Values that only Secret Manager and the two programs get to see.
SECRETS=(CLOUDRUN_CALLBACK_SECRET GATEHOUSE_ADMIN_KEY GATEHOUSE_API_KEYS)
# The folders of the bucket that a job changes, and those that it only reads.
JOB_FOLDERS=(sessions tasks files outbox index inputs)
JOB_FOLDERS_READ=(plugins)
# What the label holds by which a deployment knows whether it would change anything.
SETTINGS_LABEL=gatehouse-settings
# What else was made here says so, and only that is deleted by teardown.sh.
MADE_HERE='Made by the scripts of Gatehouse'

# Arguments and settings of a script.
cloud_script() {
  DRY_RUN=false ARGUMENTS=()
  local argument
  for argument; do
    case $argument in
      --dry-run) DRY_RUN=true ;;
      -h | --help) explain_script; exit 0 ;;
      *) ARGUMENTS+=("$argument") ;;
    esac
  done
  command -v jq >/dev/null || fail "jq is missing: install it (Debian: apt-get install jq)"
  SCRATCH=$(mktemp -d)
  trap 'rm -rf "$SCRATCH"' EXIT
  SAID=$SCRATCH/said
  cloud_settings
}

# The comment at the head of the script that runs.
explain_script() { sed -n '2,/^[^#]/s/^# \{0,1\}//p' "$0"; }

# For scripts that take no arguments of their own.
no_arguments() { [ ${#ARGUMENTS[@]} = 0 ] || fail "'${ARGUMENTS[0]}' is not understood; see $0 --help"; }

cloud_settings() {
  # shellcheck source=scripts/load-env.sh
  source "$ROOT/scripts/load-env.sh"
  # Programs that are started from here have no use for them.
  local secret
  for secret in "${SECRETS[@]}" ANTHROPIC_API_KEY; do export -n "${secret?}"; done

  : "${PROJECT_ID:=${GCS_PROJECT_ID:-}}"
  [[ $PROJECT_ID =~ ^[a-z][a-z0-9-]{4,28}[a-z0-9]$ ]] ||
    fail "PROJECT_ID is '$PROJECT_ID': set it in $ENV_FILE to the id of your project (6 to 30 small letters, digits and hyphens)"
  : "${REGION:=europe-west3}"
  [[ $REGION =~ ^[a-z]+-[a-z]+[0-9]+$ ]] || fail "REGION is '$REGION': expected a region of Cloud Run, such as europe-west3"
  : "${GCS_LOGS_BUCKET:=}"
  [[ $GCS_LOGS_BUCKET =~ ^[a-z0-9][a-z0-9_.-]{1,61}[a-z0-9]$ ]] ||
    fail "GCS_LOGS_BUCKET is '$GCS_LOGS_BUCKET': set it in $ENV_FILE to a name that no bucket in the world has, such as $PROJECT_ID-gatehouse"
  : "${KMS_KEY_RING:=cloudrun-claude-code-keys}" "${KMS_KEY_NAME:=async-task-payload-key}" "${KMS_LOCATION:=$REGION}"
  : "${CLOUDRUN_JOB_NAME:=claude-code-async-worker}" "${SERVICE_NAME:=gatehouse}"
  : "${REPOSITORY:=claude-code}" "${IMAGE_NAME:=gatehouse}" "${TAG:=}"
  : "${CPU:=1}" "${MEMORY:=1Gi}" "${TIMEOUT:=3600}" "${CONCURRENCY:=200}" "${MIN_INSTANCES:=1}" "${MAX_INSTANCES:=3}"
  : "${INGRESS:=all}" "${RECONCILE_SCHEDULE:=}"
  : "${JOB_CPU:=2}" "${JOB_MEMORY:=4Gi}" "${JOB_TIMEOUT:=25h}" "${JOB_MAX_RETRIES:=1}"
  : "${ENABLE_VPC:=false}" "${VPC_NETWORK:=gatehouse}" "${VPC_SUBNET:=gatehouse-$REGION}" "${SUBNET_RANGE:=10.24.0.0/24}"
  : "${EGRESS_ALLOW_RANGES:=}" "${GATEWAY_OPENS_DAMAGED_TASKS:=false}"
  yes_or_no ENABLE_VPC
  yes_or_no GATEWAY_OPENS_DAMAGED_TASKS

  IN_PROJECT=(--project="$PROJECT_ID")
  GATEWAY_ACCOUNT=gatehouse-gateway@$PROJECT_ID.iam.gserviceaccount.com
  JOB_ACCOUNT=gatehouse-job@$PROJECT_ID.iam.gserviceaccount.com
  BUILD_ACCOUNT=gatehouse-build@$PROJECT_ID.iam.gserviceaccount.com
  SCHEDULER_ACCOUNT=gatehouse-scheduler@$PROJECT_ID.iam.gserviceaccount.com
  CLIENT_ACCOUNT=${CLIENT_ACCOUNT_NAME:=claude-code-client}@$PROJECT_ID.iam.gserviceaccount.com
  SCHEDULER_JOB=$SERVICE_NAME-reconcile
  BUILD_BUCKET=$PROJECT_ID-gatehouse-build
  # Unless an image is named that somebody else builds.
  IMAGE_PATH=$REGION-docker.pkg.dev/$PROJECT_ID/$REPOSITORY/$IMAGE_NAME
  SERVICE=("$SERVICE_NAME" --region="$REGION" "${IN_PROJECT[@]}")
  JOB=("$CLOUDRUN_JOB_NAME" --region="$REGION" "${IN_PROJECT[@]}")
  # What the other scripts use, shellcheck does not see here.
  : "$GATEWAY_ACCOUNT" "$JOB_ACCOUNT" "$BUILD_ACCOUNT" "$SCHEDULER_ACCOUNT" "$CLIENT_ACCOUNT" "$SCHEDULER_JOB" "$BUILD_BUCKET"
  : "${JOB_FOLDERS[@]}" "${JOB_FOLDERS_READ[@]}" "$SETTINGS_LABEL" "$IMAGE_PATH" "${SERVICE[@]}" "${JOB[@]}"
}

yes_or_no() { case ${!1} in true | false) ;; *) fail "$1 is '${!1}': expected true or false" ;; esac; }

# Makes sure that gcloud is there and knows who asks.
need_gcloud() {
  command -v gcloud >/dev/null || fail "gcloud is missing: install the Google Cloud CLI (https://cloud.google.com/sdk/docs/install), then run this again"
  local account
  account=$(gcloud auth list --filter=status:ACTIVE --format='value(account)') || fail "gcloud could not say who is logged in; its message is above"
  [ -n "$account" ] || fail "nobody is logged in: run 'gcloud auth login', then this again"
  note "as $account, project $PROJECT_ID, region $REGION"
}

# A command as a shell would take it.
shown() {
  local word line=''
  for word; do
    [[ $word =~ ^[A-Za-z0-9_@%+=:,./~-]+$ ]] || word="'${word//\'/\'\\\'\'}'"
    line+="$word "
  done
  printf '%s' "${line% }"
}

# Runs what changes something, after it was shown. With --dry-run it is only shown.
change() {
  printf '+ %s\n' "$(shown "$@")"
  if $DRY_RUN; then return; fi
  "$@" >/dev/null || fail "this did not work, see above. What is done stays; mend the cause and run $0 again"
}

# Asks for what may not be there. Only an answer that says so counts as "not there", or one that says that the API
# is not switched on, of which nothing can be there.
found() {
  local said
  if FOUND=$("$@" 2>"$SAID"); then return; fi
  said=$(<"$SAID")
  [[ ${said,,} =~ not_found|not\ found|cannot\ find|service_disabled|has\ not\ been\ used ]] && return 1
  printf '%s\n' "$said" >&2
  fail "gcloud could not answer: $(shown "$@"). Mend what it says above, then run $0 again; what is done stays"
}

# Asks for what is there.
answer() { found "$@" || fail "this is not there, though it should be: $(shown "$@")"; }

# Whether FOUND, a policy, has this member in this role without a condition.
has_member() { # has_member MEMBER ROLE
  jq -e --arg member "$1" --arg role "$2" \
    'any(.bindings[]?; .role == $role and (.condition == null) and any(.members[]; . == $member))' <<<"$FOUND" >/dev/null
}

# Gives a member a role on one resource.
#   granted MEMBER ROLE GROUP… -- RESOURCE…    e.g. … gcloud storage buckets -- gs://b
granted() { bound add "$@"; }
# Takes it away again.
withdrawn() { bound remove "$@"; }

bound() {
  local verb=$1 member=$2 role=$3 group=() has=false options=()
  shift 3
  while [ "$1" != -- ]; do group+=("$1"); shift; done
  shift
  if found "${group[@]}" get-iam-policy "$@" --format=json && has_member "$member" "$role"; then has=true; fi
  case $verb:$has in add:true | remove:false) return ;; esac
  # A project's policy may hold conditions, and gcloud then wants to hear that none is meant.
  [ "${group[1]}" != projects ] || options=(--condition=None)
  change "${group[@]}" "$verb-iam-policy-binding" "$@" --member="$member" --role="$role" "${options[@]}"
}

# A service account.
account() { # account EMAIL "what it is"
  found gcloud iam service-accounts describe "$1" "${IN_PROJECT[@]}" --format='value(email)' && return
  change gcloud iam service-accounts create "${1%%@*}" "${IN_PROJECT[@]}" --display-name="$2" --description="$MADE_HERE"
  # A policy does not take a member that IAM has not heard of everywhere yet.
  $DRY_RUN || sleep "${IAM_DELAY:-10}"
}

# A role of this project, by its file in deploy/roles.
role() { # role ID
  local file=$ROOT/deploy/roles/$1.yaml wanted
  wanted=$(sed -n 's/^  *- //p' "$file" | sort)
  if ! found gcloud iam roles describe "$1" "${IN_PROJECT[@]}" --format=json; then
    change gcloud iam roles create "$1" "${IN_PROJECT[@]}" --file="deploy/roles/$1.yaml"
    return
  fi
  # Deleted roles keep their ids for weeks.
  if jq -e .deleted <<<"$FOUND" >/dev/null; then change gcloud iam roles undelete "$1" "${IN_PROJECT[@]}"; fi
  if [ "$(jq -r '.includedPermissions[]?' <<<"$FOUND" | sort)" != "$wanted" ]; then
    change gcloud iam roles update "$1" "${IN_PROJECT[@]}" --file="deploy/roles/$1.yaml"
  fi
}
role_name() { printf 'projects/%s/roles/%s' "$PROJECT_ID" "$1"; }

# APIs that have to be switched on.
apis() {
  answer gcloud services list --enabled "${IN_PROJECT[@]}" --format='value(config.name)'
  local api missing=()
  for api; do grep -qx "$api" <<<"$FOUND" || missing+=("$api"); done
  [ ${#missing[@]} = 0 ] || change gcloud services enable "${missing[@]}" "${IN_PROJECT[@]}"
}

# The image to deploy, by its digest, so that what was tried is what runs: in IMAGE.
resolve_image() {
  local image=$IMAGE_PATH:$TAG
  if [ -n "${IMAGE:-}" ]; then
    [[ $IMAGE != *@sha256:* ]] || return 0
    image=$IMAGE
  elif [ -z "$TAG" ]; then
    image=$IMAGE_PATH:$(git -C "$ROOT" rev-parse --short=12 HEAD)
  fi
  if found gcloud artifacts docker images describe "$image" "${IN_PROJECT[@]}" --format='value(image_summary.digest)'; then
    IMAGE=${image%:*}@$FOUND
  elif $DRY_RUN; then
    IMAGE=${image%:*}@sha256:DIGEST-OF-WHAT-IS-BUILT
  else
    fail "there is no image $image: run ./scripts/build-and-push.sh, or set TAG or IMAGE to one that is there"
  fi
}

# The settings that gateway and job share, in VARIABLES as NAME=value. Both get all of them, so that neither can
# mean another bucket, key or job than the other.
shared_variables() {
  VARIABLES=("PROJECT_ID=$PROJECT_ID" "GCS_PROJECT_ID=${GCS_PROJECT_ID:-$PROJECT_ID}" "REGION=$REGION"
    "GCS_LOGS_BUCKET=$GCS_LOGS_BUCKET" "KMS_KEY_RING=$KMS_KEY_RING" "KMS_KEY_NAME=$KMS_KEY_NAME"
    "KMS_LOCATION=$KMS_LOCATION" "CLOUDRUN_JOB_NAME=$CLOUDRUN_JOB_NAME")
  local name
  while read -r name; do
    case $name in
      GATEHOUSE__AUTH__API_KEYS | GATEHOUSE__AUTH__ADMIN_KEY | GATEHOUSE__WEBHOOK__SECRET | GATEHOUSE__PLUGINS__REGISTRIES)
        fail "$name is a secret and would stand in the configuration for everybody to read: take it out of $ENV_FILE, use ./scripts/create-secrets.sh" ;;
      GATEHOUSE__* | GATEHOUSE_CONFIG | GATEHOUSE_ANTHROPIC_URL | GATEHOUSE_PLUGINS | LOG_LEVEL | LOG_LEVEL_* | \
        ALLOWED_TOOLS | PERMISSION_MODE | MAX_CONCURRENT_TASKS)
        if [ -n "${!name}" ]; then VARIABLES+=("$name=${!name}"); fi ;;
    esac
  done < <(compgen -e | sort)
  local variable
  for variable in "${VARIABLES[@]}"; do
    [[ $variable != *'|'* && $variable != *$'\n'* ]] || fail "${variable%%=*} holds a '|' or a line break, which cannot be passed on: put this setting into the configuration file of the image"
  done
}

# As a flag of gcloud, whose values may hold commas.
joined() { local IFS='|'; printf '^|^%s' "$*"; }

# Whether FOUND was made by these scripts.
is_made_here() {
  jq -e --arg made "$MADE_HERE" --arg name "$SETTINGS_LABEL" '.description == $made or .metadata.labels[$name] != null' <<<"$FOUND" >/dev/null
}

# Ends the script where FOUND, a service or job, is somebody else's.
not_of_others() { # not_of_others NAME VARIABLE
  is_made_here || fail "there is a $1 in $REGION that these scripts did not deploy: name another one with $2, or take this one over with --force"
}

# A short name for all settings of a deployment; whether FOUND, a service or job, has them and is well.
settings_of() { printf '%s\n' "$@" | sha256sum | cut -c1-20; }
is_deployed() { # is_deployed SETTINGS
  jq -e --arg name "$SETTINGS_LABEL" --arg settings "$1" \
    '.metadata.labels[$name] == $settings and any(.status.conditions[]?; .type == "Ready" and .status == "True")' <<<"$FOUND" >/dev/null
}

# How a service or job reaches the network, in NETWORK_FLAGS. $1: its tag; $2: whether it is there already.
network_flags() {
  if $ENABLE_VPC; then
    NETWORK_FLAGS=(--network="$VPC_NETWORK" --subnet="$VPC_SUBNET" --network-tags="$1" --vpc-egress=all-traffic)
  elif $2; then
    NETWORK_FLAGS=(--clear-network)
  else
    # shellcheck disable=SC2034
    NETWORK_FLAGS=()
  fi
}
