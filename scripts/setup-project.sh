#!/usr/bin/env bash
# Makes what gateway and job need in a project of Google Cloud: APIs, their two accounts, three small roles, the
# bucket with its folders and rights, the repository for images; then the key, by setup-kms.sh.
#   ./scripts/setup-project.sh [--dry-run]
# A second run changes nothing. Settings: .env, see .env.example.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
no_arguments
cd "$ROOT"
need_gcloud

step "APIs"
apis run.googleapis.com cloudkms.googleapis.com secretmanager.googleapis.com artifactregistry.googleapis.com \
  cloudbuild.googleapis.com storage.googleapis.com iam.googleapis.com iamcredentials.googleapis.com
if $ENABLE_VPC; then apis compute.googleapis.com; fi
if [ -n "$RECONCILE_SCHEDULE" ]; then apis cloudscheduler.googleapis.com; fi

step "Accounts: gateway and job are two, so that the agent's machine holds none of the gateway's rights"
account "$GATEWAY_ACCOUNT" "Gatehouse: gateway"
account "$JOB_ACCOUNT" "Gatehouse: job"

step "Roles"
for id in gatehouseObjects gatehouseObjectsRead gatehouseJobRunner; do role "$id"; done

step "Bucket gs://$GCS_LOGS_BUCKET"
bucket=gs://$GCS_LOGS_BUCKET
if ! found gcloud storage buckets describe "$bucket" "${IN_PROJECT[@]}" --format=json; then
  # What is deleted is gone: payloads hold secrets, and have no reason to survive their task.
  change gcloud storage buckets create "$bucket" "${IN_PROJECT[@]}" --location="$REGION" --uniform-bucket-level-access \
    --public-access-prevention --soft-delete-duration=0 --lifecycle-file=deploy/bucket-lifecycle.json
else
  is_true() { jq -e "$1" <<<"$FOUND" >/dev/null; }
  is_true '.uniform_bucket_level_access' || change gcloud storage buckets update "$bucket" "${IN_PROJECT[@]}" --uniform-bucket-level-access
  is_true '.public_access_prevention == "enforced"' || change gcloud storage buckets update "$bucket" "${IN_PROJECT[@]}" --public-access-prevention
  is_true '((.soft_delete_policy.retentionDurationSeconds // 0) | tonumber) == 0' || change gcloud storage buckets update "$bucket" "${IN_PROJECT[@]}" --clear-soft-delete
  is_true '.versioning_enabled | not' || change gcloud storage buckets update "$bucket" "${IN_PROJECT[@]}" --no-versioning
  [ "$(jq -cS '.lifecycle_config.rule // []' <<<"$FOUND")" = "$(jq -cS .rule deploy/bucket-lifecycle.json)" ] ||
    change gcloud storage buckets update "$bucket" "${IN_PROJECT[@]}" --lifecycle-file=deploy/bucket-lifecycle.json
fi
granted "serviceAccount:$GATEWAY_ACCOUNT" "$(role_name gatehouseObjects)" gcloud storage buckets -- "$bucket"

step "Folders: a job has no right on the bucket, only on those that it works in"
for folder in "${JOB_FOLDERS[@]}" "${JOB_FOLDERS_READ[@]}"; do
  found gcloud storage managed-folders describe "$bucket/$folder/" --format='value(name)' ||
    change gcloud storage managed-folders create "$bucket/$folder/"
done
for folder in "${JOB_FOLDERS[@]}"; do
  granted "serviceAccount:$JOB_ACCOUNT" "$(role_name gatehouseObjects)" gcloud storage managed-folders -- "$bucket/$folder/"
done
for folder in "${JOB_FOLDERS_READ[@]}"; do
  granted "serviceAccount:$JOB_ACCOUNT" "$(role_name gatehouseObjectsRead)" gcloud storage managed-folders -- "$bucket/$folder/"
done

step "Repository for images: $REPOSITORY"
found gcloud artifacts repositories describe "$REPOSITORY" --location="$REGION" "${IN_PROJECT[@]}" --format='value(name)' ||
  change gcloud artifacts repositories create "$REPOSITORY" --location="$REGION" "${IN_PROJECT[@]}" --repository-format=docker --description="$MADE_HERE"

options=()
if $DRY_RUN; then options=(--dry-run); fi
./scripts/setup-kms.sh "${options[@]}"
note "next: ./scripts/build-and-push.sh"
