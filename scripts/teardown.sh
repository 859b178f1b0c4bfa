#!/usr/bin/env bash
# Deletes what the other scripts made: service, job, schedule, accounts, rights, roles, network, images.
#   ./scripts/teardown.sh [--data] [--yes] [--dry-run]
#   --data   the bucket with everything in it, the secrets, and the key's versions too: without them no task, log or
#            report can be read ever again
#   --yes    does not ask
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
data=false yes=false
for argument in "${ARGUMENTS[@]}"; do
  case $argument in
    --data) data=true ;;
    --yes) yes=true ;;
    *) fail "'$argument' is not understood; see $0 --help" ;;
  esac
done
need_gcloud
if ! $yes && ! $DRY_RUN; then
  what="service $SERVICE_NAME, job $CLOUDRUN_JOB_NAME, their accounts and images in $PROJECT_ID"
  if $data; then what="$what, AND ALL DATA: bucket $GCS_LOGS_BUCKET, secrets, key $KMS_KEY_NAME"; fi
  printf 'This deletes %s.\nType the project id to go on: ' "$what" >&2
  read -r typed || typed=
  [ "$typed" = "$PROJECT_ID" ] || fail "nothing was deleted"
fi

# Deletes what is there and was made here: gone GROUP… -- NAME FLAGS…
gone() {
  local group=()
  while [ "$1" != -- ]; do group+=("$1"); shift; done
  shift
  found "${group[@]}" describe "$@" --format=json || return 0
  if is_made_here; then
    change "${group[@]}" delete "$@"
  else
    note "kept, because these scripts did not make it: ${group[*]:1} $1"
  fi
}

step "Schedule, service, job"
gone gcloud scheduler jobs -- "$SCHEDULER_JOB" --location="$REGION" "${IN_PROJECT[@]}"
gone gcloud run services -- "${SERVICE[@]}"
gone gcloud run jobs -- "${JOB[@]}"

step "Rights on what stays"
bucket=gs://$GCS_LOGS_BUCKET
has_bucket=false
if found gcloud storage buckets describe "$bucket" "${IN_PROJECT[@]}" --format='value(name)'; then
  has_bucket=true
  withdrawn "serviceAccount:$GATEWAY_ACCOUNT" "$(role_name gatehouseObjects)" gcloud storage buckets -- "$bucket"
  for folder in "${JOB_FOLDERS[@]}" "${JOB_FOLDERS_READ[@]}"; do
    found gcloud storage managed-folders describe "$bucket/$folder/" --format='value(name)' || continue
    for id in gatehouseObjects gatehouseObjectsRead; do
      withdrawn "serviceAccount:$JOB_ACCOUNT" "$(role_name "$id")" gcloud storage managed-folders -- "$bucket/$folder/"
    done
  done
fi
key=("$KMS_KEY_NAME" --keyring="$KMS_KEY_RING" --location="$KMS_LOCATION" "${IN_PROJECT[@]}")
has_key=false
if found gcloud kms keys describe "${key[@]}" --format='value(name)'; then
  has_key=true
  withdrawn "serviceAccount:$GATEWAY_ACCOUNT" roles/cloudkms.cryptoKeyEncrypter gcloud kms keys -- "${key[@]}"
  withdrawn "serviceAccount:$GATEWAY_ACCOUNT" roles/cloudkms.cryptoKeyDecrypter gcloud kms keys -- "${key[@]}"
  withdrawn "serviceAccount:$JOB_ACCOUNT" roles/cloudkms.cryptoKeyDecrypter gcloud kms keys -- "${key[@]}"
fi
for name in "${SECRETS[@]}"; do
  found gcloud secrets describe "$name" "${IN_PROJECT[@]}" --format='value(name)' || continue
  withdrawn "serviceAccount:$GATEWAY_ACCOUNT" roles/secretmanager.secretAccessor gcloud secrets -- "$name" "${IN_PROJECT[@]}"
done
withdrawn "serviceAccount:$BUILD_ACCOUNT" roles/logging.logWriter gcloud projects -- "$PROJECT_ID"

step "Images, accounts, roles"
gone gcloud artifacts repositories -- "$REPOSITORY" --location="$REGION" "${IN_PROJECT[@]}"
if found gcloud storage buckets describe "gs://$BUILD_BUCKET" "${IN_PROJECT[@]}" --format='value(name)'; then
  change gcloud storage rm --recursive "gs://$BUILD_BUCKET"
fi
for email in "$SCHEDULER_ACCOUNT" "$BUILD_ACCOUNT" "$CLIENT_ACCOUNT" "$JOB_ACCOUNT" "$GATEWAY_ACCOUNT"; do
  gone gcloud iam service-accounts -- "$email" "${IN_PROJECT[@]}"
done
for id in gatehouseJobRunner gatehouseObjectsRead gatehouseObjects; do
  if found gcloud iam roles describe "$id" "${IN_PROJECT[@]}" --format=json && ! jq -e .deleted <<<"$FOUND" >/dev/null; then
    change gcloud iam roles delete "$id" "${IN_PROJECT[@]}"
  fi
done

step "Network"
here=(--region="$REGION" "${IN_PROJECT[@]}")
for rule in deny-private allow-named; do gone gcloud compute firewall-rules -- "$VPC_NETWORK-$rule" "${IN_PROJECT[@]}"; done
# With the router goes its NAT. Cloud Run may hold addresses of the subnet for an hour or two after its last use.
gone gcloud compute routers -- "$VPC_NETWORK-router" "${here[@]}"
gone gcloud compute networks subnets -- "$VPC_SUBNET" "${here[@]}"
gone gcloud compute networks -- "$VPC_NETWORK" "${IN_PROJECT[@]}"

if $data; then
  step "Data"
  if $has_bucket; then change gcloud storage rm --recursive "$bucket"; fi
  for name in "${SECRETS[@]}"; do
    if found gcloud secrets describe "$name" "${IN_PROJECT[@]}" --format='value(name)'; then change gcloud secrets delete "$name" "${IN_PROJECT[@]}"; fi
  done
  if $has_key; then
    # Keys and rings cannot be deleted; a key without versions opens nothing. Google keeps versions for 30 days, in
    # which they can be restored.
    of_key=(--key="$KMS_KEY_NAME" --keyring="$KMS_KEY_RING" --location="$KMS_LOCATION" "${IN_PROJECT[@]}")
    answer gcloud kms keys versions list "${of_key[@]}" --format=json
    versions=$(jq -r '.[] | select(.state == "ENABLED" or .state == "DISABLED") | .name | split("/") | last' <<<"$FOUND")
    for version in $versions; do change gcloud kms keys versions destroy "$version" "${of_key[@]}"; done
  fi
else
  note "kept: bucket $GCS_LOGS_BUCKET, secrets, key $KMS_KEY_NAME; --data deletes them"
fi
