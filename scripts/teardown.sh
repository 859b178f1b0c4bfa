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

# gone DELETE… -- DESCRIBE…
gone() {
  local delete=()
  while [ "$1" != -- ]; do delete+=("$1"); shift; done
  shift
  if found "$@"; then change "${delete[@]}"; fi
}

step "Schedule, service, job"
at=("$SCHEDULER_JOB" --location="$REGION" "${IN_PROJECT[@]}")
if [ -n "$RECONCILE_SCHEDULE" ]; then
  gone gcloud scheduler jobs delete "${at[@]}" -- gcloud scheduler jobs describe "${at[@]}" --format='value(name)'
fi
gone gcloud run services delete "${SERVICE[@]}" -- gcloud run services describe "${SERVICE[@]}" --format='value(metadata.name)'
gone gcloud run jobs delete "${JOB[@]}" -- gcloud run jobs describe "${JOB[@]}" --format='value(metadata.name)'

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
repository=("$REPOSITORY" --location="$REGION" "${IN_PROJECT[@]}")
gone gcloud artifacts repositories delete "${repository[@]}" -- gcloud artifacts repositories describe "${repository[@]}" --format='value(name)'
if found gcloud storage buckets describe "gs://$BUILD_BUCKET" "${IN_PROJECT[@]}" --format='value(name)'; then
  change gcloud storage rm --recursive "gs://$BUILD_BUCKET"
fi
for email in "$SCHEDULER_ACCOUNT" "$BUILD_ACCOUNT" "$CLIENT_ACCOUNT" "$JOB_ACCOUNT" "$GATEWAY_ACCOUNT"; do
  gone gcloud iam service-accounts delete "$email" "${IN_PROJECT[@]}" -- gcloud iam service-accounts describe "$email" "${IN_PROJECT[@]}" --format='value(email)'
done
for id in gatehouseJobRunner gatehouseObjectsRead gatehouseObjects; do
  if found gcloud iam roles describe "$id" "${IN_PROJECT[@]}" --format=json && ! jq -e .deleted <<<"$FOUND" >/dev/null; then
    change gcloud iam roles delete "$id" "${IN_PROJECT[@]}"
  fi
done

if $ENABLE_VPC; then
  step "Network"
  here=(--region="$REGION" "${IN_PROJECT[@]}")
  for rule in deny-private allow-named; do
    gone gcloud compute firewall-rules delete "$VPC_NETWORK-$rule" "${IN_PROJECT[@]}" -- gcloud compute firewall-rules describe "$VPC_NETWORK-$rule" "${IN_PROJECT[@]}" --format='value(name)'
  done
  # With the router goes its NAT. Cloud Run may hold addresses of the subnet for an hour or two after its last use.
  gone gcloud compute routers delete "$VPC_NETWORK-router" "${here[@]}" -- gcloud compute routers describe "$VPC_NETWORK-router" "${here[@]}" --format='value(name)'
  gone gcloud compute networks subnets delete "$VPC_SUBNET" "${here[@]}" -- gcloud compute networks subnets describe "$VPC_SUBNET" "${here[@]}" --format='value(name)'
  gone gcloud compute networks delete "$VPC_NETWORK" "${IN_PROJECT[@]}" -- gcloud compute networks describe "$VPC_NETWORK" "${IN_PROJECT[@]}" --format='value(name)'
fi

if $data; then
  step "Data"
  if $has_bucket; then change gcloud storage rm --recursive "$bucket"; fi
  for name in "${SECRETS[@]}"; do
    gone gcloud secrets delete "$name" "${IN_PROJECT[@]}" -- gcloud secrets describe "$name" "${IN_PROJECT[@]}" --format='value(name)'
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
