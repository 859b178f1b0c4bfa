#!/usr/bin/env bash
# Creates or updates the Cloud Run job that runs tasks, as the job's account and without any secret.
#   ./scripts/deploy-job.sh [--force] [--dry-run]
# Nothing happens where the job has these settings already; --force deploys all the same.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
[ "${ARGUMENTS[*]}" = --force ] || no_arguments
cd "$ROOT"
need_gcloud

step "Job $CLOUDRUN_JOB_NAME"
resolve_image
shared_variables
present=false
if found gcloud run jobs describe "${JOB[@]}" --format=json; then
  present=true
  [ ${#ARGUMENTS[@]} != 0 ] || not_of_others "job $CLOUDRUN_JOB_NAME" CLOUDRUN_JOB_NAME
fi
network_flags gatehouse-job "$present"
# One attempt more: it repeats nothing, but reports what an attempt that died could not. The time is for each
# attempt and has to cover the longest task (task.timeout_minutes_limit) with its preparation.
flags=(--image="$IMAGE" --service-account="$JOB_ACCOUNT" --args=run-job --tasks=1 --parallelism=1
  --max-retries="$JOB_MAX_RETRIES" --task-timeout="$JOB_TIMEOUT" --cpu="$JOB_CPU" --memory="$JOB_MEMORY"
  --set-env-vars="$(joined "${VARIABLES[@]}")" --clear-secrets)
settings=$(settings_of "${flags[@]}" "${NETWORK_FLAGS[@]#--clear-network}")
if $present && [ ${#ARGUMENTS[@]} = 0 ] && is_deployed "$settings"; then
  note "has these settings already"
else
  change gcloud run jobs deploy "${JOB[@]}" "${flags[@]}" "${NETWORK_FLAGS[@]}" --labels="$SETTINGS_LABEL=$settings"
fi
note "next: ./scripts/grant-job-permissions.sh"
