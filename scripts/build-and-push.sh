#!/usr/bin/env bash
# Builds the image and puts it into the repository, under the commit's id unless TAG says otherwise.
#   ./scripts/build-and-push.sh [--local] [--force] [--dry-run]
#   --local   with docker, podman or buildah on this machine instead of Cloud Build
#   --force   also where an image of this tag is there
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
cd "$ROOT"
local=false force=false
for argument in "${ARGUMENTS[@]}"; do
  case $argument in
    --local) local=true ;;
    --force) force=true ;;
    *) fail "'$argument' is not understood; see $0 --help" ;;
  esac
done
: "${IMAGE_FILE:=Dockerfile}" "${BROWSER:=none}"
case $BROWSER in none | playwright) ;; *) fail "BROWSER is '$BROWSER': expected none or playwright" ;; esac
[ -e "$IMAGE_FILE" ] || fail "there is no $IMAGE_FILE here to build from: set IMAGE_FILE to where it is, or IMAGE to an image that is there and skip this step"
need_gcloud

revision=$(git rev-parse HEAD 2>/dev/null) || revision=unknown
[ "$revision" != unknown ] || [ -n "$TAG" ] || fail "this is no git repository: set TAG to what the image shall be called"
tag=${TAG:-${revision:0:12}}
image=$IMAGE_PATH:$tag
if [ -n "$(git status --porcelain 2>/dev/null)" ]; then note "there are changes that no commit holds; they go into the image all the same"; fi

step "Image $image"
if ! $force && found gcloud artifacts docker images describe "$image" "${IN_PROJECT[@]}" --format='value(image_summary.digest)'; then
  note "is there already, $FOUND; --force builds it again"
  exit 0
fi

if $local; then
  builder=
  for candidate in docker podman buildah; do
    if command -v "$candidate" >/dev/null; then builder=$candidate && break; fi
  done
  [ -n "$builder" ] || fail "neither docker, podman nor buildah is here: install one, or leave out --local"
  export DOCKER_BUILDKIT=1
  change "$builder" build --tag "$image" --file "$IMAGE_FILE" --build-arg BROWSER="$BROWSER" --build-arg REVISION="$revision" .
  host=${IMAGE_PATH%%/*}
  # The token goes by standard input, for this login only.
  change "$builder" login --username oauth2accesstoken --password-stdin "$host" < <($DRY_RUN || gcloud auth print-access-token)
  change "$builder" push "$image"
  exit 0
fi

step "Cloud Build, as an account that may read the source and write images, and nothing else"
account "$BUILD_ACCOUNT" "Gatehouse: builds images"
granted "serviceAccount:$BUILD_ACCOUNT" roles/logging.logWriter gcloud projects -- "$PROJECT_ID"
granted "serviceAccount:$BUILD_ACCOUNT" roles/artifactregistry.writer gcloud artifacts repositories -- "$REPOSITORY" --location="$REGION" "${IN_PROJECT[@]}"
staging=gs://$BUILD_BUCKET
found gcloud storage buckets describe "$staging" "${IN_PROJECT[@]}" --format='value(name)' ||
  change gcloud storage buckets create "$staging" "${IN_PROJECT[@]}" --location="$REGION" --uniform-bucket-level-access \
    --public-access-prevention --soft-delete-duration=0 --lifecycle-file=deploy/build-lifecycle.json
granted "serviceAccount:$BUILD_ACCOUNT" roles/storage.objectViewer gcloud storage buckets -- "$staging"
change gcloud builds submit . "${IN_PROJECT[@]}" --region="$REGION" --config=deploy/cloudbuild.yaml --timeout=3600 \
  --substitutions="_IMAGE=$image,_FILE=$IMAGE_FILE,_BROWSER=$BROWSER,_REVISION=$revision" --gcs-source-staging-dir="$staging/source" \
  --service-account="projects/$PROJECT_ID/serviceAccounts/$BUILD_ACCOUNT" --suppress-logs
note "next: ./scripts/create-secrets.sh"
