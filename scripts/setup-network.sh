#!/usr/bin/env bash
# Makes a network for gateway and jobs from which the internet is reached, and nothing private: a subnet, an exit
# (Cloud NAT), and firewall rules that deny what is not public. It counts from the next deployment, with ENABLE_VPC=true.
#   ./scripts/setup-network.sh [--dry-run]
# EGRESS_ALLOW_RANGES names private ranges that are needed all the same, such as that of your git server.
# No rule of a VPC stops a container from asking its metadata server: see docs/explanation/cloud-security.md.
set -euo pipefail
# shellcheck source=scripts/cloud.sh
source "$(dirname "${BASH_SOURCE[0]}")/cloud.sh"
cloud_script "$@"
no_arguments
need_gcloud
$ENABLE_VPC || fail "ENABLE_VPC is false, so nothing would use this network: set it to true in $ENV_FILE first"
apis compute.googleapis.com

step "Network $VPC_NETWORK, subnet $VPC_SUBNET"
here=(--region="$REGION" "${IN_PROJECT[@]}")
found gcloud compute networks describe "$VPC_NETWORK" "${IN_PROJECT[@]}" --format='value(name)' ||
  change gcloud compute networks create "$VPC_NETWORK" "${IN_PROJECT[@]}" --subnet-mode=custom --description="$MADE_HERE"
found gcloud compute networks subnets describe "$VPC_SUBNET" "${here[@]}" --format='value(name)' ||
  change gcloud compute networks subnets create "$VPC_SUBNET" "${here[@]}" --network="$VPC_NETWORK" --range="$SUBNET_RANGE" \
    --enable-private-ip-google-access --description="$MADE_HERE"
found gcloud compute routers describe "$VPC_NETWORK-router" "${here[@]}" --format='value(name)' ||
  change gcloud compute routers create "$VPC_NETWORK-router" "${here[@]}" --network="$VPC_NETWORK" --description="$MADE_HERE"
found gcloud compute routers nats describe "$VPC_NETWORK-nat" --router="$VPC_NETWORK-router" "${here[@]}" --format='value(name)' ||
  change gcloud compute routers nats create "$VPC_NETWORK-nat" --router="$VPC_NETWORK-router" "${here[@]}" \
    --nat-custom-subnet-ip-ranges="$VPC_SUBNET" --auto-allocate-nat-external-ips

step "Firewall"
# RFC 1918, carrier-grade NAT, link-local, benchmarking, protocol assignments, multicast, reserved.
private=10.0.0.0/8,172.16.0.0/12,192.168.0.0/16,100.64.0.0/10,169.254.0.0/16,192.0.0.0/24,198.18.0.0/15,224.0.0.0/4,240.0.0.0/4
rule() { # rule NAME PRIORITY ACTION RANGES
  if ! found gcloud compute firewall-rules describe "$1" "${IN_PROJECT[@]}" --format=json; then
    change gcloud compute firewall-rules create "$1" "${IN_PROJECT[@]}" --network="$VPC_NETWORK" --direction=EGRESS --action="$3" \
      --rules=all --priority="$2" --destination-ranges="$4" --target-tags=gatehouse-gateway,gatehouse-job --description="$MADE_HERE"
  elif [ "$(jq -r '.destinationRanges | sort | join(",")' <<<"$FOUND")" != "$(tr , '\n' <<<"$4" | sort | paste -sd,)" ]; then
    change gcloud compute firewall-rules update "$1" "${IN_PROJECT[@]}" --destination-ranges="$4"
  fi
}
rule "$VPC_NETWORK-deny-private" 1000 DENY "$private"
if [ -n "$EGRESS_ALLOW_RANGES" ]; then
  rule "$VPC_NETWORK-allow-named" 900 ALLOW "$EGRESS_ALLOW_RANGES"
elif found gcloud compute firewall-rules describe "$VPC_NETWORK-allow-named" "${IN_PROJECT[@]}" --format='value(name)'; then
  change gcloud compute firewall-rules delete "$VPC_NETWORK-allow-named" "${IN_PROJECT[@]}"
fi
