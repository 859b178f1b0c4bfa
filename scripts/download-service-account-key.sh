#!/usr/bin/env bash
# Makes a key of the clients' account and puts it into service_accounts/, for clients that can prove who they are in
# no other way. Such a key is good until somebody deletes it, for whoever has the file.
#   ./scripts/download-service-account-key.sh [--dry-run]
# Where there is a key in that place already, nothing is made.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
no_arguments
cd "$ROOT"
need_gcloud

folder=service_accounts
file=$folder/${PROJECT_ID}_service_account.json
if [ -s "$file" ]; then
  note "$file is there already; to change it, delete it there and its key by 'gcloud iam service-accounts keys delete'"
  exit 0
fi
step "Key of $CLIENT_ACCOUNT"
note "WARNING: whoever gets this file can call the gateway until the key is deleted. Workload identity needs no file:"
note "see ./scripts/setup-service-account.sh --member and docs/explanation/cloud-security.md"
if ! $DRY_RUN; then
  umask 077
  mkdir -p "$folder"
  chmod 700 "$folder"
fi
change gcloud iam service-accounts keys create "$file" --iam-account="$CLIENT_ACCOUNT" "${IN_PROJECT[@]}"
if ! $DRY_RUN; then
  chmod 600 "$file"
  note "$file, mode 0600, is kept out of git by .gitignore"
fi
