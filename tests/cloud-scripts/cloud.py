"""A small cloud for the scripts: it knows each command's flags, keeps what was made, and tells everything apart that
the real one would refuse. Each test has a world of its own; the program `gcloud` beside this file asks it."""

import copy
import json
import re
import socketserver
import threading
from pathlib import Path

HERE = Path(__file__).parent
REFERENCE = json.loads((HERE / "gcloud-reference.json").read_text())
READING = ("describe", "list", "get-iam-policy", "access", "print-access-token", "print-identity-token")
API_OF = {"run": "run", "kms": "cloudkms", "secrets": "secretmanager", "artifacts": "artifactregistry",
          "builds": "cloudbuild", "scheduler": "cloudscheduler", "compute": "compute"}
# What tells two things of a kind apart, beside their name.
KIND_KEYS = {"kms keyrings": ["--location"], "kms keys": ["--location", "--keyring"], "artifacts repositories": ["--location"],
             "run jobs": ["--region"], "run services": ["--region"], "scheduler jobs": ["--location"],
             "compute networks subnets": ["--region"], "compute routers": ["--region"], "compute routers nats": ["--region", "--router"]}


class Refused(Exception):
    """What gcloud says before it ends with an error."""


def is_reading(path):
    return path.split()[-1] in READING


class World:
    """Everything that one project holds."""

    def __init__(self):
        self.project = "test-project-1"
        self.apis = {"storage.googleapis.com", "iam.googleapis.com"}
        self.things = {}
        self.policies = {}
        self.versions = {}
        self.calls = []
        # The number of the call that fails.
        self.fail_at = None
        # Where it is a list, the worlds after each change.
        self.steps = None
        self.lock = threading.Lock()

    def copy(self):
        """The same state, with nothing called yet."""
        other = World()
        for name in ("apis", "things", "policies", "versions"):
            setattr(other, name, copy.deepcopy(getattr(self, name)))
        return other

    def state(self):
        """What can be compared: everything that was made, and who may do what."""
        return json.dumps([sorted(self.apis), sorted((str(key), value) for key, value in self.things.items()),
                           sorted((str(key), sorted(map(list, value))) for key, value in self.policies.items() if value),
                           sorted(self.versions.items())], sort_keys=True, default=str)

    def mutations(self):
        return [words for path, words in self.calls if not is_reading(path)]

    # --- One call

    def call(self, words, cwd, given):
        with self.lock:
            path, rest = self.command(words)
            self.calls.append((path, words))
            flags, names = self.check(path, rest, cwd)
            number = len(self.calls)
            if number == self.fail_at:
                raise Refused("ERROR: (gcloud) UNAVAILABLE: The service is currently unavailable.")
            result = self.carry_out(path, flags, names, cwd, given)
            if self.steps is not None and not is_reading(path):
                self.steps.append(self.copy())
            return result

    @staticmethod
    def command(words):
        for length in range(len(words), 0, -1):
            path = " ".join(words[:length])
            if path in REFERENCE["commands"]:
                return path, words[length:]
        raise Refused(f"ERROR: (gcloud) Invalid choice: '{' '.join(words[:4])}' is no command of the pinned reference.")

    @staticmethod
    def check(path, rest, cwd):
        known = REFERENCE["commands"][path]
        flags, names = {}, []
        rest = list(rest)
        for word in rest:
            if word.startswith("--flags-file="):
                for line in (Path(cwd) / word.split("=", 1)[1]).read_text().splitlines():
                    name, value = line.split(": ", 1)
                    rest.append(f"{name}={json.loads(value)}")
                if (Path(cwd) / word.split("=", 1)[1]).stat().st_mode & 0o077:
                    raise Refused("ERROR: the file of flags can be read by others")
        for word in rest:
            if not word.startswith("-"):
                names.append(word)
                continue
            name, equals, value = word.partition("=")
            takes = known["flags"].get(name) or REFERENCE["everywhere"].get(name)
            positive = "--" + name.removeprefix("--no-")
            if name.startswith("--no-") and known["flags"].get(positive) == "nothing":
                takes = "nothing"
                flags[positive] = False
            else:
                flags[name] = value if equals else True
            if takes is None:
                raise Refused(f"ERROR: (gcloud.{path}) unrecognized arguments: {word}")
            if (takes == "nothing") == bool(equals):
                raise Refused(f"ERROR: (gcloud.{path}) argument {name}: {'takes no value' if equals else 'expected one argument'}")
            if isinstance(takes, list) and value.lower() not in [choice.lower() for choice in takes]:
                raise Refused(f"ERROR: (gcloud.{path}) argument {name}: Invalid choice: '{value}'")
            if equals and not value:
                raise Refused(f"ERROR: (gcloud.{path}) argument {name}: an empty value")
        least, most = known["words"]
        if not least <= len(names) <= most:
            raise Refused(f"ERROR: (gcloud.{path}) expected {least} to {most} names, found {names}")
        for name in known["required"]:
            if name not in flags:
                raise Refused(f"ERROR: (gcloud.{path}) argument {name}: Must be specified.")
        return flags, names

    # --- What commands do

    def carry_out(self, path, flags, names, cwd, given):
        group, verb = path.rsplit(" ", 1)
        first = path.split()[0]
        if first in API_OF and f"{API_OF[first]}.googleapis.com" not in self.apis:
            raise Refused(f"ERROR: (gcloud.{path}) PERMISSION_DENIED: {API_OF[first]}.googleapis.com API has not been used in this project before or it is disabled.")
        if "--project" in flags and flags["--project"] != self.project:
            raise Refused(f"ERROR: (gcloud.{path}) PERMISSION_DENIED: another project: {flags['--project']}")
        special = getattr(self, "do_" + re.sub(r"[ -]", "_", path), None)
        if special:
            return special(flags, names, cwd, given)
        if verb.endswith("-iam-policy-binding") or verb == "get-iam-policy":
            return self.policy(group, verb, flags, names)
        key = self.key(group, flags, names[0])
        if verb == "describe":
            return self.printed(self.need(key), flags)
        if verb == "create":
            if key in self.things:
                raise Refused(f"ERROR: (gcloud.{path}) ALREADY_EXISTS: {key} already exists")
            self.things[key] = self.made(group, flags, names[0], cwd)
            return ""
        if verb == "update":
            self.need(key).update(self.made(group, {**self.flags_of(key), **flags}, names[0], cwd))
            return ""
        if verb == "delete":
            self.need(key)
            self.delete(key)
            return ""
        raise Refused(f"ERROR: the cloud of the tests cannot carry out: {path}")

    @staticmethod
    def key(group, flags, name):
        missing = [flag for flag in KIND_KEYS.get(group, []) if flag not in flags]
        if missing:
            raise Refused(f"ERROR: (gcloud.{group}) {missing} must be specified, or gcloud would ask")
        return (group, name, *(flags[flag] for flag in KIND_KEYS.get(group, [])))

    def need(self, key):
        if key not in self.things:
            raise Refused(f"ERROR: NOT_FOUND: {' '.join(key)} not found.")
        return self.things[key]

    def flags_of(self, key):
        return dict(self.things[key]["flags"])

    def named(self, group, name):
        if not any(key[:2] == (group, name) for key in self.things):
            raise Refused(f"ERROR: NOT_FOUND: {group} {name} not found.")

    def made(self, group, flags, name, cwd):
        """What describe shows of it; refuses what leads nowhere."""
        thing = {"name": name, "description": flags.get("--description", ""), "flags": {key: value for key, value in flags.items() if key not in ("--flags-file", "--format")}}
        if group == "kms keys":
            self.need(("kms keyrings", flags["--keyring"], flags["--location"]))
            if flags["--purpose"] == "encryption" and ("--rotation-period" in flags) != ("--next-rotation-time" in flags):
                raise Refused("ERROR: INVALID_ARGUMENT: rotation_period and next_rotation_time must be set together")
            thing |= {"purpose": "ENCRYPT_DECRYPT", "primary": {"state": "ENABLED"}, "versions": ["ENABLED"]}
        if group == "storage managed-folders":
            if not name.endswith("/"):
                raise Refused("ERROR: a managed folder ends in /")
            self.named("storage buckets", "/".join(name.split("/")[:3]))
        for flag, kind in (("--network", "compute networks"), ("--router", "compute routers"), ("--subnet", "compute networks subnets"),
                           ("--nat-custom-subnet-ip-ranges", "compute networks subnets")):
            if flag in flags:
                self.named(kind, flags[flag])
        if group == "compute firewall-rules":
            thing["destinationRanges"] = flags["--destination-ranges"].split(",")
        if group == "storage buckets":
            thing |= {"uniform_bucket_level_access": flags.get("--uniform-bucket-level-access", False),
                      "public_access_prevention": "enforced" if flags.get("--public-access-prevention") else "inherited",
                      "versioning_enabled": bool(flags.get("--versioning", False)),
                      "soft_delete_policy": {} if flags.get("--clear-soft-delete") or flags.get("--soft-delete-duration") == "0" else {"retentionDurationSeconds": "604800"}}
            if "--lifecycle-file" in flags:
                thing["lifecycle_config"] = json.loads((Path(cwd) / flags["--lifecycle-file"]).read_text())
        return thing

    def delete(self, key):
        group, name = key[0], key[1]
        if group == "compute networks":
            users = [other for other in self.things if other != key and self.things[other]["flags"].get("--network") == name and other[0].startswith("compute")]
            if users:
                raise Refused(f"ERROR: the network is in use by {users}")
        within = {"compute routers": "compute routers nats", "artifacts repositories": "image"}.get(group)
        for other in [other for other in self.things if other[0] == within]:
            del self.things[other]
        del self.things[key]
        self.policies.pop(key, None)

    def printed(self, thing, flags):
        form = flags.get("--format")
        if form == "json":
            return json.dumps({key: value for key, value in thing.items() if key != "flags"})
        path = re.fullmatch(r"value\((.*)\)", form or "")
        if not path:
            raise Refused(f"ERROR: format {form} was not expected")
        value = thing
        for part in path[1].split("."):
            if part not in value:
                raise Refused(f"ERROR: the cloud of the tests has no {path[1]}")
            value = value[part]
        return f"{value}\n"

    # --- Who may do what

    def policy(self, group, verb, flags, names):
        key = ("projects", names[0]) if group == "projects" else self.key(group, flags, names[0])
        if group != "projects":
            self.need(key)
        policy = self.policies.setdefault(key, set())
        if verb == "get-iam-policy":
            roles = sorted({role for role, _ in policy})
            bindings = [{"role": role, "members": sorted(member for other, member in policy if other == role)} for role in roles]
            return json.dumps({"bindings": bindings})
        binding = (flags["--role"], flags["--member"])
        if verb.startswith("add"):
            kind, _, who = flags["--member"].partition(":")
            if kind == "serviceAccount" and ("iam service-accounts", who) not in self.things:
                raise Refused(f"ERROR: INVALID_ARGUMENT: Service account {who} does not exist.")
            self.has_role(flags["--role"])
            policy.add(binding)
        elif binding in policy:
            policy.remove(binding)
        else:
            raise Refused("ERROR: NOT_FOUND: Policy binding with the specified principal and role not found!")
        return ""

    def has_role(self, role):
        if role.startswith("projects/"):
            thing = self.things.get(("iam roles", role.split("/")[-1]))
            if not thing or thing.get("deleted"):
                raise Refused(f"ERROR: INVALID_ARGUMENT: Role {role} does not exist in the resource's hierarchy.")
        elif not re.fullmatch(r"roles/[a-z]+\.[a-zA-Z]+", role):
            raise Refused(f"ERROR: INVALID_ARGUMENT: {role} is no role")

    def may(self, key, role, member):
        return (role, member) in self.policies.get(key, set())

    # --- Commands of their own kind

    def do_auth_list(self, *_):
        return "operator@example.com\n"

    def do_auth_print_access_token(self, *_):
        return "access-token\n"

    def do_auth_print_identity_token(self, *_):
        return "identity-token\n"

    def do_config_set(self, *_):
        return ""

    def do_services_list(self, *_):
        return "".join(f"{api}\n" for api in sorted(self.apis))

    def do_services_enable(self, flags, names, *_):
        self.apis |= set(names)
        return ""

    def do_iam_service_accounts_create(self, flags, names, *_):
        email = f"{names[0]}@{self.project}.iam.gserviceaccount.com"
        if ("iam service-accounts", email) in self.things:
            raise Refused("ERROR: ALREADY_EXISTS: Service account already exists")
        self.things["iam service-accounts", email] = {"email": email, "description": flags.get("--description", ""), "flags": {}}
        return ""

    def do_iam_service_accounts_keys_create(self, flags, names, cwd, _):
        self.need(("iam service-accounts", flags["--iam-account"]))
        (Path(cwd) / names[0]).write_text('{"type": "service_account"}')
        return ""

    @staticmethod
    def role(flags, cwd):
        text = (Path(cwd) / flags["--file"]).read_text()
        if not re.search(r"^stage: GA$", text, re.M):
            raise Refused("ERROR: no stage")
        return {"includedPermissions": re.findall(r"^ +- (\S+)$", text, re.M), "flags": {}}

    def do_iam_roles_create(self, flags, names, cwd, _):
        if ("iam roles", names[0]) in self.things:
            raise Refused("ERROR: ALREADY_EXISTS: A role of this name exists, perhaps deleted")
        self.things["iam roles", names[0]] = self.role(flags, cwd)
        return ""

    def do_iam_roles_update(self, flags, names, cwd, _):
        self.need(("iam roles", names[0])).update(self.role(flags, cwd))
        return ""

    def do_iam_roles_undelete(self, flags, names, *_):
        self.need(("iam roles", names[0])).pop("deleted")
        return ""

    def do_iam_roles_delete(self, flags, names, *_):
        self.need(("iam roles", names[0]))["deleted"] = True
        return ""

    def do_storage_rm(self, flags, names, *_):
        if not flags.get("--recursive"):
            raise Refused("ERROR: only with --recursive")
        self.need(("storage buckets", names[0]))
        for key in [key for key in self.things if key[0].startswith("storage") and (key[1] + "/").startswith(names[0] + "/")]:
            del self.things[key]
            self.policies.pop(key, None)
        return ""

    def of_key(self, flags):
        return self.need(("kms keys", flags["--key"], flags["--location"], flags["--keyring"]))

    def do_kms_keys_versions_list(self, flags, *_):
        return json.dumps([{"name": f"x/cryptoKeyVersions/{number}", "state": state} for number, state in enumerate(self.of_key(flags)["versions"], 1)])

    def do_kms_keys_versions_create(self, flags, *_):
        key = self.of_key(flags)
        key["versions"].append("ENABLED")
        key["primary"] = {"state": "ENABLED"}
        return ""

    def do_kms_keys_versions_destroy(self, flags, names, *_):
        key = self.of_key(flags)
        key["versions"][int(names[0]) - 1] = "DESTROY_SCHEDULED"
        key["primary"] = {"state": "DESTROY_SCHEDULED"}
        return ""

    def do_secrets_versions_add(self, flags, names, cwd, given):
        self.need(("secrets", names[0]))
        if flags["--data-file"] != "-" or not given:
            raise Refused("ERROR: a secret comes by standard input, and is not empty")
        self.versions.setdefault(names[0], []).append(given)
        return ""

    def do_secrets_versions_access(self, flags, names, *_):
        self.need(("secrets", flags["--secret"]))
        if not self.versions.get(flags["--secret"]):
            raise Refused("ERROR: NOT_FOUND: Secret Version [latest] not found.")
        return self.versions[flags["--secret"]][-1]

    def do_secrets_delete(self, flags, names, *_):
        self.need(("secrets", names[0]))
        self.delete(("secrets", names[0]))
        self.versions.pop(names[0], None)
        return ""

    def do_artifacts_docker_images_describe(self, flags, names, *_):
        return self.printed(self.need(("image", names[0])), flags)

    def do_builds_submit(self, flags, names, *_):
        image = dict(pair.split("=", 1) for pair in flags["--substitutions"].split(","))["_IMAGE"]
        self.push(image)
        builder = "serviceAccount:" + flags["--service-account"].split("/")[-1]
        repository = ("artifacts repositories", image.split("/")[2], image.split("-docker")[0])
        if not self.may(repository, "roles/artifactregistry.writer", builder):
            raise Refused("ERROR: the builder may not write images")
        staging = ("storage buckets", "/".join(flags["--gcs-source-staging-dir"].split("/")[:3]))
        if not self.may(staging, "roles/storage.objectViewer", builder):
            raise Refused("ERROR: the builder may not read the source")
        return ""

    def push(self, image):
        self.named("artifacts repositories", image.split("/")[2])
        self.things["image", image] = {"name": image, "image_summary": {"digest": "sha256:" + f"{len(self.things):064x}"}, "flags": {}}

    def deploy(self, kind, flags, name):
        key = self.key(kind, flags, name)
        path, digest = flags["--image"].split("@")
        if not any(key[0] == "image" and key[1].startswith(path) and thing["image_summary"]["digest"] == digest for key, thing in self.things.items()):
            raise Refused(f"ERROR: Image '{flags['--image']}' not found.")
        account = flags["--service-account"]
        self.need(("iam service-accounts", account))
        for pair in filter(None, flags.get("--set-secrets", "").split(",")):
            secret = pair.split("=")[1].split(":")[0]
            if not self.versions.get(secret) or not self.may(("secrets", secret), "roles/secretmanager.secretAccessor", f"serviceAccount:{account}"):
                raise Refused(f"ERROR: spec.template: Permission denied on secret: {secret} for Revision service account {account}.")
        if flags.get("--network"):
            self.named("compute networks", flags["--network"])
            self.need(("compute networks subnets", flags["--subnet"], flags["--region"]))
        delimiter = re.match(r"\^(.)\^", flags["--set-env-vars"])[1]
        variables = dict(pair.split("=", 1) for pair in flags["--set-env-vars"][3:].split(delimiter))
        labels = dict([flags["--labels"].split("=", 1)])
        self.things[key] = {"name": name, "metadata": {"name": name, "labels": labels}, "variables": variables,
                            "status": {"url": f"https://{name}-x.a.run.app", "conditions": [{"type": "Ready", "status": "True"}]},
                            "flags": {flag: value for flag, value in flags.items() if flag not in ("--clear-network", "--clear-secrets")}}
        return ""

    def do_run_jobs_deploy(self, flags, names, *_):
        return self.deploy("run jobs", flags, names[0])

    def do_run_deploy(self, flags, names, *_):
        if flags.get("--allow-unauthenticated") is not False:
            raise Refused("ERROR: the service would be open to everybody, or gcloud would ask")
        return self.deploy("run services", flags, names[0])

    def schedule(self, flags, name, headers):
        account = flags["--oidc-service-account-email"]
        self.need(("iam service-accounts", account))
        pair = headers.split("=", 1)
        self.things[self.key("scheduler jobs", flags, name)] = {
            "name": name, "schedule": flags["--schedule"], "description": flags["--description"], "flags": {},
            "httpTarget": {"uri": flags["--uri"], "headers": {pair[0]: pair[1]},
                           "oidcToken": {"serviceAccountEmail": account, "audience": flags["--oidc-token-audience"]}}}
        return ""

    def do_scheduler_jobs_create_http(self, flags, names, *_):
        return self.schedule(flags, names[0], flags["--headers"])

    def do_scheduler_jobs_update_http(self, flags, names, *_):
        self.need(self.key("scheduler jobs", flags, names[0]))
        return self.schedule(flags, names[0], flags["--update-headers"])


class Handler(socketserver.StreamRequestHandler):
    """One call of the program `gcloud`."""

    def handle(self):
        text = b""
        # World, folder, number of words, the words, the standard input; each ends in a zero byte.
        while text.count(b"\0") < 3 or text.count(b"\0") < int(text.split(b"\0", 3)[2]) + 4:
            more = self.request.recv(65536)
            if not more:
                return
            text += more
        name, cwd, count, *words = text.decode().split("\0")
        words, given = words[: int(count)], words[int(count)]
        world = self.server.worlds[name]
        try:
            code, answer, said = 0, world.call(words, cwd, given), ""
        except Refused as refused:
            code, answer, said = 1, "", str(refused)
        self.wfile.write(f"{code}\n{len(answer)}\n{answer}{said}".encode())


class Server(socketserver.ThreadingTCPServer):
    """Answers on a port of loopback."""

    daemon_threads = True
    request_queue_size = 64

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.worlds = {}
        threading.Thread(target=self.serve_forever, daemon=True).start()
