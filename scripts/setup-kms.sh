#!/usr/bin/env bash
# Makes the key that seals requests, and says who may do what with it: the gateway seals, the job opens.
#   ./scripts/setup-kms.sh [--dry-run]
# With GATEWAY_OPENS_DAMAGED_TASKS=true the gateway may open, too. A second run changes nothing.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
no_arguments
need_gcloud

step "Key $KMS_KEY_RING/$KMS_KEY_NAME in $KMS_LOCATION"
ring=(--location="$KMS_LOCATION" "${IN_PROJECT[@]}")
key=("$KMS_KEY_NAME" --keyring="$KMS_KEY_RING" "${ring[@]}")
found gcloud kms keyrings describe "$KMS_KEY_RING" "${ring[@]}" --format='value(name)' ||
  change gcloud kms keyrings create "$KMS_KEY_RING" "${ring[@]}"
if ! found gcloud kms keys describe "${key[@]}" --format=json; then
  change gcloud kms keys create "${key[@]}" --purpose=encryption --rotation-period=90d --next-rotation-time=+p90d
elif [ "$(jq -r '.purpose' <<<"$FOUND")" != ENCRYPT_DECRYPT ]; then
  fail "the key is there with another purpose: name another one with KMS_KEY_NAME"
elif [ "$(jq -r '.primary.state' <<<"$FOUND")" != ENABLED ]; then
  # As teardown.sh --data leaves it.
  change gcloud kms keys versions create --key="$KMS_KEY_NAME" --keyring="$KMS_KEY_RING" "${ring[@]}" --primary
fi
granted "serviceAccount:$GATEWAY_ACCOUNT" roles/cloudkms.cryptoKeyEncrypter gcloud kms keys -- "${key[@]}"
granted "serviceAccount:$JOB_ACCOUNT" roles/cloudkms.cryptoKeyDecrypter gcloud kms keys -- "${key[@]}"
if $GATEWAY_OPENS_DAMAGED_TASKS; then
  granted "serviceAccount:$GATEWAY_ACCOUNT" roles/cloudkms.cryptoKeyDecrypter gcloud kms keys -- "${key[@]}"
else
  withdrawn "serviceAccount:$GATEWAY_ACCOUNT" roles/cloudkms.cryptoKeyDecrypter gcloud kms keys -- "${key[@]}"
fi
