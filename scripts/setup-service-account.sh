#!/usr/bin/env bash
# Lets clients call the gateway: an account for them, which may call this service and nothing else.
#   ./scripts/setup-service-account.sh [--member=MEMBER]… [--dry-run]
#   --member   somebody who may call as well, e.g. --member=principalSet://iam.googleapis.com/… (workload identity),
#              --member=serviceAccount:… or --member=group:…
# Results, logs and files come by the gateway's API: no client needs a right on the bucket.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
members=("serviceAccount:$CLIENT_ACCOUNT")
for argument in "${ARGUMENTS[@]}"; do
  case $argument in
    --member=allUsers | --member=allAuthenticatedUsers) fail "this would open the gateway to everybody: name who may call" ;;
    --member=?*:?*) members+=("${argument#--member=}") ;;
    *) fail "'$argument' is not understood; see $0 --help" ;;
  esac
done
need_gcloud

step "Clients of $SERVICE_NAME"
account "$CLIENT_ACCOUNT" "Gatehouse: clients"
for member in "${members[@]}"; do
  granted "$member" roles/run.invoker gcloud run services -- "${SERVICE[@]}"
done
note "clients that run elsewhere best come by workload identity federation, with --member=principalSet://…;"
note "a key to download, ./scripts/download-service-account-key.sh, is the last resort"
