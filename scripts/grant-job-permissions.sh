#!/usr/bin/env bash
# Lets the gateway start, see and cancel executions of the job: of this job, and without a right to change it.
#   ./scripts/grant-job-permissions.sh [--dry-run]
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
no_arguments
cd "$ROOT"
need_gcloud

step "Gateway on job $CLOUDRUN_JOB_NAME"
role gatehouseJobRunner
found gcloud run jobs describe "${JOB[@]}" --format='value(metadata.name)' || $DRY_RUN ||
  fail "there is no job $CLOUDRUN_JOB_NAME in $REGION: run ./scripts/deploy-job.sh first"
granted "serviceAccount:$GATEWAY_ACCOUNT" "$(role_name gatehouseJobRunner)" gcloud run jobs -- "${JOB[@]}"
note "next: ./scripts/deploy-service.sh"
