#!/usr/bin/env bash
# Creates or updates the Cloud Run service: the gateway, for callers that IAM knows.
#   ./scripts/deploy-service.sh [--force] [--dry-run]
# Nothing happens where the service has these settings already; --force deploys all the same, as is wanted after
# a secret was changed.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
[ "${ARGUMENTS[*]}" = --force ] || no_arguments
cd "$ROOT"
# Between requests a gateway delivers webhooks and looks after jobs. One instance with a processor of its own does
# so all the time; without one, somebody has to wake it.
if [ "$MIN_INSTANCES" = 0 ] && [ -z "$RECONCILE_SCHEDULE" ]; then
  fail "with MIN_INSTANCES=0 nobody would deliver webhooks or notice dead jobs while no request comes: set RECONCILE_SCHEDULE, such as '* * * * *', or MIN_INSTANCES=1"
fi
need_gcloud

step "Service $SERVICE_NAME"
resolve_image
shared_variables
secrets=()
for name in "${SECRETS[@]}"; do
  if found gcloud secrets describe "$name" "${IN_PROJECT[@]}" --format='value(name)'; then
    secrets+=("$name=$name:latest")
  elif [ "$name" != GATEHOUSE_API_KEYS ]; then
    $DRY_RUN || fail "there is no secret $name: run ./scripts/create-secrets.sh first"
    secrets+=("$name=$name:latest")
  fi
done
present=false
if found gcloud run services describe "${SERVICE[@]}" --format=json; then
  present=true
  [ ${#ARGUMENTS[@]} != 0 ] || not_of_others "service $SERVICE_NAME" SERVICE_NAME
fi
network_flags gatehouse-gateway "$present"
# shellcheck disable=SC2054
flags=(--image="$IMAGE" --service-account="$GATEWAY_ACCOUNT" --args=serve
  --no-allow-unauthenticated --ingress="$INGRESS" --execution-environment=gen2 --port=8080
  --cpu="$CPU" --memory="$MEMORY" --timeout="$TIMEOUT" --concurrency="$CONCURRENCY"
  --min-instances="$MIN_INSTANCES" --max-instances="$MAX_INSTANCES" --no-cpu-throttling --cpu-boost
  --startup-probe=httpGet.path=/health,httpGet.port=8080,periodSeconds=2,timeoutSeconds=2,failureThreshold=30
  --liveness-probe=httpGet.path=/health,httpGet.port=8080,periodSeconds=10,timeoutSeconds=5,failureThreshold=6
  --set-env-vars="$(joined "${VARIABLES[@]}")" --set-secrets="$(IFS=,; printf '%s' "${secrets[*]}")")
settings=$(settings_of "${flags[@]}" "${NETWORK_FLAGS[@]#--clear-network}")
if $present && [ ${#ARGUMENTS[@]} = 0 ] && is_deployed "$settings"; then
  note "has these settings already"
else
  change gcloud run deploy "${SERVICE[@]}" "${flags[@]}" "${NETWORK_FLAGS[@]}" --labels="$SETTINGS_LABEL=$settings"
fi

url=https://URL-OF-THE-SERVICE
if found gcloud run services describe "${SERVICE[@]}" --format=json; then url=$(jq -r '.status.url' <<<"$FOUND"); fi
if found gcloud run services get-iam-policy "${SERVICE[@]}" --format=json && grep -qE '"all(Authenticated)?Users"' <<<"$FOUND"; then
  fail "everybody may call this service. Take that away: gcloud run services remove-iam-policy-binding $(shown "${SERVICE[@]}") --role=roles/run.invoker --member=allUsers (or allAuthenticatedUsers)"
fi

schedule=(--location="$REGION" "${IN_PROJECT[@]}")
if [ -n "$RECONCILE_SCHEDULE" ]; then
  step "Schedule: POST /internal/reconcile, $RECONCILE_SCHEDULE"
  apis cloudscheduler.googleapis.com
  account "$SCHEDULER_ACCOUNT" "Gatehouse: wakes the gateway"
  granted "serviceAccount:$SCHEDULER_ACCOUNT" roles/run.invoker gcloud run services -- "${SERVICE[@]}"
  key=KEY
  if found gcloud secrets versions access latest --secret=GATEHOUSE_ADMIN_KEY "${IN_PROJECT[@]}"; then key=$FOUND; fi
  # The key goes by a file that only we can read.
  flags_file=$SCRATCH/flags.yaml
  (umask 077 && : >"$flags_file")
  at=(--schedule="$RECONCILE_SCHEDULE" --uri="$url/internal/reconcile" --http-method=post
    --oidc-service-account-email="$SCHEDULER_ACCOUNT" --oidc-token-audience="$url" --attempt-deadline=180s --description="$MADE_HERE")
  if ! found gcloud scheduler jobs describe "$SCHEDULER_JOB" "${schedule[@]}" --format=json; then
    printf -- '--headers: "X-Api-Key=%s"\n' "$key" >"$flags_file"
    change gcloud scheduler jobs create http "$SCHEDULER_JOB" "${schedule[@]}" "${at[@]}" --flags-file="$flags_file"
  elif ! KEY=$key jq -e --arg schedule "$RECONCILE_SCHEDULE" --arg uri "$url/internal/reconcile" --arg account "$SCHEDULER_ACCOUNT" \
    '.schedule == $schedule and .httpTarget.uri == $uri and .httpTarget.headers["X-Api-Key"] == $ENV.KEY
      and .httpTarget.oidcToken.serviceAccountEmail == $account' <<<"$FOUND" >/dev/null; then
    printf -- '--update-headers: "X-Api-Key=%s"\n' "$key" >"$flags_file"
    change gcloud scheduler jobs update http "$SCHEDULER_JOB" "${schedule[@]}" "${at[@]}" --flags-file="$flags_file"
  fi
fi
note "at $url, for whoever has roles/run.invoker on it: ./scripts/setup-service-account.sh"
note "to see whether it works: ./scripts/test.sh remote"
