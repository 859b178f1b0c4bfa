#!/usr/bin/env bash
# Puts the gateway's secrets into Secret Manager, and lets the gateway, and nobody else, read them:
# CLOUDRUN_CALLBACK_SECRET signs webhooks, GATEHOUSE_ADMIN_KEY is the operator's key, GATEHOUSE_API_KEYS are the
# callers' keys.
#   ./scripts/create-secrets.sh [--dry-run]
# Where .env gives a value that differs from the newest version, that value becomes a new one. Where it gives
# none, the first two are made at random, once; API keys are left out. Jobs are given no secret.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
no_arguments
need_gcloud

# By standard input: what stands in a command's arguments, every user of the machine can read.
add_version() { change gcloud secrets versions add "$1" "${IN_PROJECT[@]}" --data-file=- < <(printf '%s' "$2"); }

for name in "${SECRETS[@]}"; do
  step "$name"
  value=${!name:-}
  if ! found gcloud secrets describe "$name" "${IN_PROJECT[@]}" --format='value(name)'; then
    if [ "$name" = GATEHOUSE_API_KEYS ] && [ -z "$value" ]; then
      note "not set in $ENV_FILE: callers are known by Cloud Run's IAM alone"
      continue
    fi
    change gcloud secrets create "$name" "${IN_PROJECT[@]}" --replication-policy=user-managed --locations="$REGION"
  fi
  if found gcloud secrets versions access latest --secret="$name" "${IN_PROJECT[@]}"; then
    if [ -n "$value" ] && [ "$value" != "$FOUND" ]; then
      add_version "$name" "$value"
      note "takes effect with the next start of the gateway: ./scripts/deploy-service.sh --force"
    fi
  else
    add_version "$name" "${value:-$(openssl rand -hex 32)}"
    [ -n "$value" ] || note "made at random; to see it: gcloud secrets versions access latest --secret=$name --project=$PROJECT_ID"
  fi
  FOUND=
  granted "serviceAccount:$GATEWAY_ACCOUNT" roles/secretmanager.secretAccessor gcloud secrets -- "$name" "${IN_PROJECT[@]}"
done
note "next: ./scripts/deploy-job.sh"
