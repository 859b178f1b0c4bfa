"""Writes terraform-schema.json from a clone of the provider's source: of each resource that the module uses, its
arguments and blocks, and which are required.

    python3 tests/cloud-scripts/make-terraform-schema.py CLONE > tests/cloud-scripts/terraform-schema.json
"""

import json
import re
import subprocess
import sys

CLONE = sys.argv[1]
RESOURCES = {
    "google_project_service": "resourcemanager/resource_google_project_service",
    "google_service_account": "resourcemanager/resource_google_service_account",
    "google_project_iam_custom_role": "resourcemanager/resource_google_project_iam_custom_role",
    "google_storage_bucket": "storage/resource_storage_bucket",
    "google_storage_managed_folder": "storage/resource_storage_managed_folder",
    "google_kms_key_ring": "kms/resource_kms_key_ring",
    "google_kms_crypto_key": "kms/resource_kms_crypto_key",
    "google_artifact_registry_repository": "artifactregistry/resource_artifact_registry_repository",
    "google_secret_manager_secret": "secretmanager/resource_secret_manager_secret",
    "google_secret_manager_secret_version": "secretmanager/resource_secret_manager_secret_version",
    "google_cloud_run_v2_job": "cloudrunv2/resource_cloud_run_v2_job",
    "google_cloud_run_v2_service": "cloudrunv2/resource_cloud_run_v2_service",
    "google_compute_network": "compute/resource_compute_network",
    "google_compute_subnetwork": "compute/resource_compute_subnetwork",
    "google_compute_firewall": "compute/resource_compute_firewall",
    "google_compute_router": "compute/resource_compute_router",
    "google_compute_router_nat": "compute/resource_compute_router_nat",
}
# Members of policies are made of two parts in the provider's code: what they all have, and what names the resource.
MEMBERS = {
    "google_storage_bucket_iam_member": "storage/iam_storage_bucket",
    "google_storage_managed_folder_iam_member": "storage/iam_storage_managed_folder",
    "google_kms_crypto_key_iam_member": "kms/iam_kms_crypto_key",
    "google_secret_manager_secret_iam_member": "secretmanager/iam_secret_manager_secret",
    "google_cloud_run_v2_job_iam_member": "cloudrunv2/iam_cloud_run_v2_job",
    "google_cloud_run_v2_service_iam_member": "cloudrunv2/iam_cloud_run_v2_service",
}

TYPES = {"String": "string", "Bool": "bool", "Int": "number", "Float": "number"}


def git(*words):
    return subprocess.check_output(["git", "-C", CLONE, *words], text=True)


def closing(text, start):
    """Where the brace at `start` closes; text within quotes does not count."""
    depth, quote, at = 0, None, start
    while True:
        char = text[at]
        if quote:
            if char == "\\" and quote == '"':
                at += 1
            elif char == quote:
                quote = None
        elif char in "\"`":
            quote = char
        elif char == "{":
            depth += 1
        elif char == "}":
            depth -= 1
            if depth == 0:
                return at
        at += 1


def entries(text, start, whole):
    """The arguments of the map whose brace is at `start`."""
    found, at, end = {}, start + 1, closing(text, start)
    while match := re.compile(r'\s*(?://[^\n]*\s*)*"(\w+)":\s*(?:\{|&schema\.Schema\{)').match(text, at):
        brace = match.end() - 1
        stop = closing(text, brace)
        body = text[brace : stop + 1]
        nested = re.search(r"Elem:\s*&schema\.Resource\{", body)
        called = re.search(r"Elem:\s*(\w+)(?:\(\))?,", body)
        entry = {}
        if nested:
            inner = re.compile(r"Schema:\s*map\[string\]\*schema\.Schema\{").search(text, brace + nested.end())
            entry["block"] = entries(text, inner.end() - 1, whole)
            body = text[brace : brace + nested.start()] + text[closing(text, brace + nested.end() - 1) : stop]
        elif called:
            definition = re.search(rf"(?:func {called[1]}\(\)|var {called[1]} =|{called[1]} :?=)[^{{]*\{{", whole)
            inner = definition and re.compile(r"Schema:\s*map\[string\]\*schema\.Schema\{").search(whole, definition.start())
            if inner:
                entry["block"] = entries(whole, inner.end() - 1, whole)
        says = lambda word: re.search(rf"\b{word}:\s*true", body)
        if says("Required"):
            entry["required"] = True
        elif not says("Optional"):
            entry["computed"] = True  # the provider's to say
        elif says("Computed"):
            entry["else"] = "computed"
        if says("WriteOnly"):
            entry["write_only"] = True
        kind = re.search(r"Type:\s*schema\.Type(\w+)", body)
        if "block" in entry:
            most = re.search(r"MaxItems:\s*(\d+)", body)
            entry |= {"set": True} if kind[1] == "Set" else {}
            entry |= {"most": int(most[1])} if most else {}
        elif kind and kind[1] != "String":
            of = re.search(r"Elem:\s*&schema\.Schema\{\s*Type:\s*schema\.Type(\w+)", body)
            entry["type"] = TYPES.get(kind[1]) or [kind[1].lower(), TYPES.get(of[1], "string") if of else "string"]
        found[match[1]] = entry
        at = stop + 1
        at += 1 if text[at] == "," else 0
        if at >= end:
            break
    return found


def source(path):
    return git("show", f"HEAD:google/services/{path}.go")


schema = {}
for resource, path in RESOURCES.items():
    text = source(path)
    function = re.search(r"func Resource\w+\(\) \*schema\.Resource \{", text)
    top = re.compile(r"\n\t\tSchema:\s*map\[string\]\*schema\.Schema\{").search(text, function.start())
    schema[resource] = entries(text, top.end() - 1, text)
condition = {"title": {"required": True}, "description": {}, "expression": {"required": True}}
for resource, path in MEMBERS.items():
    text = source(path)
    top = re.search(r"Schema\s*(?:=|:)\s*map\[string\]\*schema\.Schema\{", text)
    schema[resource] = entries(text, top.end() - 1, text) | {"role": {"required": True}, "member": {"required": True}, "condition": {"block": condition}}
commit, day = git("log", "-1", "--format=%h %cs").split()
text = ",\n".join(f"  {json.dumps(name)}: {json.dumps(what)}" for name, what in sorted(schema.items()))
print(f'{{"provider": "hashicorp/google at {commit}, {day}", "resources": {{\n{text}\n}}}}')
