# shellcheck shell=bash
# Sourced: puts what .env says into the environment. ENV_FILE names another file.
#   source scripts/load-env.sh

ENV_FILE="${ENV_FILE:-$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)/.env}"
if [ -e "$ENV_FILE" ]; then
  set -a
  # shellcheck source=/dev/null
  source "$ENV_FILE"
  set +a
else
  printf 'There is no %s: copy .env.example to .env and fill it in, or "./scripts/project.sh add NAME".\n' "$ENV_FILE" >&2
fi
