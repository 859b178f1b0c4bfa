"""Writes gcloud-reference.json from a gcloud that is installed: of each command that the scripts use, its flags,
what they take, which are required, and how many words stand without a flag.

    python3 tests/cloud-scripts/make-reference.py > tests/cloud-scripts/gcloud-reference.json
"""

import json
import subprocess
import sys

COMMANDS = """
auth list, auth print-access-token, auth print-identity-token, config set
services list, services enable
projects get-iam-policy, projects add-iam-policy-binding, projects remove-iam-policy-binding
iam service-accounts describe, iam service-accounts create, iam service-accounts delete
iam service-accounts keys create
iam roles describe, iam roles create, iam roles update, iam roles undelete, iam roles delete
storage buckets describe, storage buckets create, storage buckets update
storage buckets get-iam-policy, storage buckets add-iam-policy-binding, storage buckets remove-iam-policy-binding
storage managed-folders describe, storage managed-folders create, storage managed-folders get-iam-policy
storage managed-folders add-iam-policy-binding, storage managed-folders remove-iam-policy-binding
storage rm
kms keyrings describe, kms keyrings create, kms keys describe, kms keys create
kms keys get-iam-policy, kms keys add-iam-policy-binding, kms keys remove-iam-policy-binding
kms keys versions list, kms keys versions create, kms keys versions destroy
secrets describe, secrets create, secrets delete, secrets versions add, secrets versions access
secrets get-iam-policy, secrets add-iam-policy-binding, secrets remove-iam-policy-binding
artifacts repositories describe, artifacts repositories create, artifacts repositories delete
artifacts repositories get-iam-policy, artifacts repositories add-iam-policy-binding
artifacts repositories remove-iam-policy-binding, artifacts docker images describe
builds submit
run jobs describe, run jobs deploy, run jobs delete, run jobs get-iam-policy, run jobs add-iam-policy-binding
run services describe, run deploy, run services delete
run services get-iam-policy, run services add-iam-policy-binding, run services remove-iam-policy-binding
scheduler jobs describe, scheduler jobs create http, scheduler jobs update http, scheduler jobs delete
compute networks describe, compute networks create, compute networks delete
compute networks subnets describe, compute networks subnets create, compute networks subnets delete
compute routers describe, compute routers create, compute routers delete
compute routers nats describe, compute routers nats create
compute firewall-rules describe, compute firewall-rules create, compute firewall-rules update
compute firewall-rules delete
"""

sdk = subprocess.check_output(["gcloud", "info", "--format=value(installation.sdk_root)"], text=True).strip()
version = subprocess.check_output(["gcloud", "version", "--format=value(core)"], text=True).strip()
sys.path[:0] = [f"{sdk}/lib", f"{sdk}/lib/third_party"]
from googlecloudsdk import gcloud_main  # noqa: E402


def taken(argument):
    if argument.nargs == 0 or type(argument).__name__ in ("_StoreTrueAction", "_StoreConstAction"):
        return "nothing"
    choices = argument.choices
    return sorted(str(choice) for choice in choices) if choices else "value"


def described(path):
    element = gcloud_main.CreateCLI([]).top_element
    for word in path.split():
        element = element.LoadSubElement(word)
    flags, required = {}, []
    for argument in element.ai.flag_args + element.ai.ancestor_flag_args:
        if getattr(argument, "is_global", False):
            continue
        for name in argument.option_strings:
            if name.startswith("--"):
                flags[name] = taken(argument)
        # Of several flags of which one is required, each says that it is; so does the location of secrets, which
        # only those have that live in one region.
        if argument.required and "http" not in path and not (path.startswith("secrets") and "--location" in argument.option_strings):
            required.append(argument.option_strings[0])
    counts = {None: (1, 1), "?": (0, 1), "+": (1, 99), "*": (0, 99)}
    words = [counts.get(argument.nargs, (1, 1)) for argument in element.ai.positional_args]
    return {
        "words": [sum(least for least, _ in words), sum(most for _, most in words)],
        "required": required,
        "flags": dict(sorted(flags.items())),
    }


commands = sorted(path.strip() for path in COMMANDS.replace("\n", ",").split(",") if path.strip())
reference = {path: described(path) for path in commands}
everywhere = {"--project": "value", "--format": "value", "--filter": "value", "--quiet": "nothing", "--flags-file": "value"}
text = ",\n".join(f"  {json.dumps(path)}: {json.dumps(what)}" for path, what in reference.items())
print(f'{{"gcloud": {json.dumps(version)}, "everywhere": {json.dumps(everywhere)}, "commands": {{\n{text}\n}}}}')
