#!/usr/bin/env bash
# The scripts for Google Cloud against a cloud that is none, and the Terraform module by terraform
# itself, with a provider that makes nothing.
#   ./scripts/check-cloud-scripts.sh
set -euo pipefail
# shellcheck source=scripts/lib.sh
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
mkdir -p target
need jq
need python3
need openssl
need curl

# One file of the interpreter's, not the version manager's shell script in front of it.
python=$(python3 -c 'import sys; print(sys.executable)')
# They read Terraform's language, and speak to it. Only for this check, so not into the system.
if [ ! -d target/python/grpc ] || [ ! -d target/python/hcl2 ]; then
  "$python" -m pip --version >/dev/null 2>&1 || install_packages python3-pip
  "$python" -m pip install --quiet --disable-pip-version-check --root-user-action=ignore --target target/python python-hcl2==8.1.4 grpcio==1.85.3 msgpack==1.2.4 ||
    fail "the parser cannot be installed; see its message above"
fi
for part in tests/cloud-scripts/check.py tests/cloud-scripts/terraform.py; do
  "$python" "$part" 2>target/cloud-scripts.log || {
    cat target/cloud-scripts.log >&2
    fail "see above; what each script would do stands in tests/cloud-scripts/transcript.txt"
  }
  note "$(basename "$part"): $(grep -E '^Ran ' target/cloud-scripts.log)$(grep -oE 'skipped=[0-9]+' target/cloud-scripts.log | sed 's/^/, /' || true)"
done
