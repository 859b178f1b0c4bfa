"""The Terraform module against the provider's schema (terraform-schema.json) and against what the scripts make
(transcript.txt): python3 tests/cloud-scripts/terraform.py

It reads HCL with python-hcl2, which scripts/check-cloud-scripts.sh installs. Where terraform is there, it plans and
applies the module with the provider of provider.py, which makes nothing."""

import json
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(REPOSITORY / "target/python"))
import hcl2  # noqa: E402
from provider import Provider  # noqa: E402

MODULE = REPOSITORY / "deploy/terraform"
SCHEMA = json.loads((HERE / "terraform-schema.json").read_text())["resources"]
META = {"for_each", "count", "depends_on", "provider", "lifecycle"}


def read(folder):
    """All blocks of a folder by kind, as (labels…, body)."""
    blocks = {}
    for file in sorted(folder.glob("*.tf")):
        with file.open() as text:
            for kind, found in hcl2.load(text).items():
                for block in found if kind != "__comments__" else []:
                    blocks.setdefault(kind, []).append(flat(block))
    return blocks


def flat(block):
    labels = []
    while len(block) == 1 and next(iter(block)).startswith('"'):
        label, block = next(iter(block.items()))
        labels.append(label.strip('"'))
    return (*labels, block)


def text_of(value):
    return json.dumps(value, ensure_ascii=False).replace('\\"', '"')


def faults_of(body, schema, path):
    """What the provider would refuse."""
    faults, seen = [], set()
    for name, value in body.items():
        if name.startswith("__") or (name in META and "." not in path.split(" ")[-1]):
            continue
        if name == "dynamic":
            for block in value:
                label, inner = flat(block)
                seen.add(label)
                if label not in schema or "block" not in schema[label]:
                    faults.append(f"{path}: no block {label}")
                else:
                    for content in inner["content"]:
                        faults += faults_of(content, schema[label]["block"], f"{path}.{label}")
            continue
        seen.add(name)
        known = schema.get(name)
        is_block = isinstance(value, list) and any(isinstance(item, dict) and item.get("__is_block__") for item in value)
        if known is None or known.get("computed"):
            faults.append(f"{path}: no argument {name}")
        elif is_block != ("block" in known):
            faults.append(f"{path}: {name} is {'no' if is_block else 'a'} block")
        elif is_block:
            for item in value:
                faults += faults_of(item, known["block"], f"{path}.{name}")
    return faults + [f"{path}: {name} is missing" for name, known in schema.items() if known.get("required") and name not in seen]


class Module(unittest.TestCase):
    """deploy/terraform."""

    @classmethod
    def setUpClass(cls):
        cls.blocks = read(MODULE)
        cls.text = "\n".join(file.read_text() for file in sorted(MODULE.glob("*.tf")))
        cls.resources = {(kind, name): body for kind, name, body in cls.blocks["resource"]}
        cls.commands = [shlex.split(line)[1:] for line in (HERE / "transcript.txt").read_text().splitlines() if line.startswith("gcloud ")]

    def test_the_provider_knows_every_argument(self):
        faults = []
        for (kind, name), body in self.resources.items():
            faults += [f"no resource {kind}"] if kind not in SCHEMA else faults_of(body, SCHEMA[kind], f"{kind} {name}")
        self.assertEqual(faults, [])
        unused = set(SCHEMA) - {kind for kind, _ in self.resources}
        self.assertEqual(unused, set(), "the schema holds what nothing uses")

    def test_every_reference_leads_somewhere(self):
        variables = {name: body for name, body in self.blocks["variable"]}
        local = {name for (body,) in self.blocks["locals"] for name in body}
        self.assertEqual(set(re.findall(r"\bvar\.(\w+)", self.text)), set(variables), "variables used, and declared")
        self.assertEqual(set(re.findall(r"\blocal\.(\w+)", self.text)), local - {"__is_block__", "__comments__"})
        for name, part in re.findall(r"\bvar\.(service|job|network)\.(\w+)", self.text):
            self.assertIn(f"{part} ", text_of(variables[name]["type"]).replace("=", " ").replace(":", " ").replace('"', " "), f"var.{name}.{part}")
        for kind, name, part in re.findall(r"\b(google_\w+)\.(\w+)(?:\[[^\]]*\])?\.(\w+)", self.text):
            self.assertIn((kind, name), self.resources)
            self.assertIn(part, {*SCHEMA[kind], "id"}, f"{kind}.{name}")
        for kind, name in re.findall(r"\b(google_[a-z0-9_]+)\.(\w+)", self.text):
            self.assertIn((kind, name), self.resources)

    def test_every_variable_and_output_is_described_and_stands_in_the_readme(self):
        readme = (MODULE / "README.md").read_text()
        for kind in ("variable", "output"):
            for name, body in self.blocks[kind]:
                self.assertGreater(len(body.get("description", "")), 10, name)
                self.assertIn(f"| `{name}` |", readme, name)
        for name, body in self.blocks["variable"]:
            if "secret" in name and "version" not in name or name in ("admin_key", "api_keys"):
                self.assertEqual((body["sensitive"], body["ephemeral"]), (True, True), name)

    def test_the_example_gives_what_is_required_and_nothing_unknown(self):
        (module,) = read(MODULE / "examples/basic")["module"]
        given = {name for name in module[-1] if not name.startswith("__")} - {"source"}
        declared = {name: body for name, body in self.blocks["variable"]}
        self.assertEqual(given - set(declared), set())
        self.assertEqual({name for name, body in declared.items() if "default" not in body} - given, set())

    def rights_of_the_scripts(self):
        rights = set()
        for words in self.commands:
            if "add-iam-policy-binding" not in words:
                continue
            flags = dict(word[2:].split("=", 1) for word in words if word.startswith("--"))
            group = " ".join(words[: words.index("add-iam-policy-binding")])
            member, role = flags["member"].split(":")[1].split("@")[0], flags["role"].split("/")[-1]
            # Building images and waking the gateway is the scripts' alone.
            if member not in ("gatehouse-build", "gatehouse-scheduler"):
                rights.add((group, member, role))
        return rights

    def test_the_same_rights_as_the_scripts_give(self):
        groups = {"google_storage_bucket_iam_member": "storage buckets", "google_storage_managed_folder_iam_member": "storage managed-folders",
                  "google_kms_crypto_key_iam_member": "kms keys", "google_secret_manager_secret_iam_member": "secrets",
                  "google_cloud_run_v2_job_iam_member": "run jobs", "google_cloud_run_v2_service_iam_member": "run services"}
        accounts = {name: body["account_id"].strip('"') for (kind, name), body in self.resources.items() if kind == "google_service_account"}
        rights = set()
        for (kind, name), body in self.resources.items():
            if kind not in groups or name in ("invoker", "gateway_opens"):
                continue
            account = accounts[re.search(r"google_service_account\.(\w+)\.member", text_of(body["member"]))[1]]
            roles = re.findall(r"gatehouse\w+", body["role"]) or [body["role"].strip('"').split("/")[-1]]
            rights |= {(groups[kind], account, role) for role in roles}
        self.assertEqual(rights, self.rights_of_the_scripts())
        self.assertNotIn("google_project_iam_member", self.text)

    def test_the_same_names_and_sizes_as_the_scripts_use(self):
        shell = (REPOSITORY / "scripts/cloud.sh").read_text()
        for name, found in (("job_folders", "JOB_FOLDERS"), ("job_folders_read", "JOB_FOLDERS_READ")):
            self.assertEqual(re.search(rf"\b{name} += \[(.*)\]", self.text)[1].replace('"', "").split(", "), re.search(rf"^{found}=\((.*)\)", shell, re.M)[1].split())
        defaults = {name: body.get("default", "").strip('"') for name, body in self.blocks["variable"] if isinstance(body.get("default"), str)}
        for variable, setting in (("region", "REGION"), ("service_name", "SERVICE_NAME"), ("job_name", "CLOUDRUN_JOB_NAME"),
                                  ("kms_key_ring", "KMS_KEY_RING"), ("kms_key_name", "KMS_KEY_NAME"), ("repository", "REPOSITORY")):
            self.assertIn(f'"${{{setting}:={defaults[variable]}}}"', shell)
        for part, setting in (("cpu", "CPU"), ("memory", "MEMORY"), ("timeout", "TIMEOUT"), ("concurrency", "CONCURRENCY"), ("min_instances", "MIN_INSTANCES"),
                              ("max_instances", "MAX_INSTANCES"), ("max_retries", "JOB_MAX_RETRIES")):
            value = re.search(rf"\b{part} += optional\(\w+, \"?(\w+)\"?\)", self.text)[1]
            self.assertIn(f'"${{{setting}:={value}}}"', shell)
        self.assertIn('JOB_TIMEOUT:=25h', shell)
        self.assertRegex(self.text, r"timeout +=  *optional\(number, 90000\)")
        deploy = next(words for words in self.commands if words[:3] == ["run", "jobs", "deploy"])
        variables = next(word for word in deploy if word.startswith("--set-env-vars="))[18:].split("|")
        names = [variable.split("=")[0] for variable in variables][:8]
        self.assertEqual(re.findall(r"^    ([A-Z_]+) += ", self.text, re.M), names)
        enabled = {word for words in self.commands if words[:2] == ["services", "enable"] for word in words if word.endswith(".googleapis.com")}
        apis = re.search(r"apis = concat\((.*?)\n  \)", self.text, re.S)[1]
        self.assertEqual({f"{api}.googleapis.com" for api in re.findall(r'"(\w+)"', apis)} - {"storage.googleapis.com", "iam.googleapis.com"}, enabled - {"cloudscheduler.googleapis.com"})
        rule = next(words for words in self.commands if "create" in words and "gatehouse-deny-private" in words)
        ranges = next(word for word in rule if word.startswith("--destination-ranges="))[21:].split(",")
        self.assertEqual(re.findall(r'"([\d.]+/\d+)"', re.search(r"destination_ranges = \[(.*?)\]", self.text, re.S)[1]), ranges)

    def test_terraform_finds_the_files_well_formatted(self):
        if not shutil.which("terraform"):
            self.skipTest("no terraform here")
        result = subprocess.run(["terraform", "fmt", "-check", "-recursive", "-diff", str(MODULE)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.assertEqual((result.returncode, result.stdout), (0, ""), result.stderr)


@unittest.skipUnless(shutil.which("terraform"), "no terraform here")
class Applied(unittest.TestCase):
    """The module as terraform itself sees it."""

    SECRETS = {"callback_secret": "canary-1", "admin_key": "canary-2", "api_keys": "canary-3"}
    GIVEN = {"project_id": "test-project-1", "image": "r-docker.pkg.dev/p/r/i@sha256:" + "0" * 64, "bucket_name": "test-project-1-gatehouse"}

    @classmethod
    def setUpClass(cls):
        cls.provider = Provider(SCHEMA)

    def setUp(self):
        folder = tempfile.TemporaryDirectory(prefix="terraform-")
        self.addCleanup(folder.cleanup)
        shutil.copytree(REPOSITORY / "deploy", Path(folder.name) / "deploy")
        self.folder = Path(folder.name) / "deploy/terraform"
        self.provider.made = {}
        # Its outcome stands by itself: terraform says no more than that it could not read a file of the user's.
        self.environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": folder.name, "CHECKPOINT_DISABLE": "1", "TF_REATTACH_PROVIDERS": self.provider.attached()}
        self.terraform("init")

    def terraform(self, command, *flags, folder="", fails=False, **given):
        variables = [] if command == "init" else [f"-var={name}={value if isinstance(value, str) else json.dumps(value)}" for name, value in {**self.GIVEN, **self.SECRETS, **given}.items()]
        result = subprocess.run(["terraform", command, "-no-color", *flags, *variables], cwd=self.folder / folder, env=self.environment,
                                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)
        self.assertEqual(result.returncode != 0, fails, result.stdout[-3000:])
        return result.stdout

    def test_it_is_made_once_and_no_secret_is_kept(self):
        full = {"with_api_keys": True, "network": {"allow_ranges": ["10.99.0.0/24"]}, "invokers": ["group:a@example.com"], "gateway_opens_damaged_tasks": True}
        for given in ({}, full):
            self.terraform("apply", "-auto-approve", **given)
            self.assertIn("No changes.", self.terraform("plan", "-detailed-exitcode", **given))
        made = self.provider.made
        job, service = made["google_cloud_run_v2_job"][-1]["template"][0]["template"][0], made["google_cloud_run_v2_service"][-1]["template"][0]
        plain = lambda container: {env["name"]: env["value"] for env in container["env"] if not env["value_source"]}
        self.assertEqual(plain(job["containers"][0]), plain(service["containers"][0]))
        self.assertEqual(plain(job["containers"][0])["GCS_LOGS_BUCKET"], "test-project-1-gatehouse")
        secret = {env["name"] for env in service["containers"][0]["env"] if env["value_source"]}
        self.assertEqual(secret, {"CLOUDRUN_CALLBACK_SECRET", "GATEHOUSE_ADMIN_KEY", "GATEHOUSE_API_KEYS"})
        self.assertEqual([env["name"] for env in job["containers"][0]["env"] if env["value_source"]], [])
        self.assertNotIn("canary", (self.folder / "terraform.tfstate").read_text())
        self.assertEqual({right["role"] for right in made["google_storage_managed_folder_iam_member"] if right["managed_folder"] == "plugins/"}, {"google_project_iam_custom_role/gatehouseObjectsRead"})

    def test_what_would_be_unsafe_is_refused(self):
        for given, sentence in (({"image": "r/i:latest"}, "by its digest"), ({"invokers": ["allUsers"]}, "to everybody"),
                                ({"settings": {"GATEHOUSE_ADMIN_KEY": "x"}}, "Secrets would stand"), ({"service": {"min_instances": 0}}, "nobody delivers webhooks")):
            self.assertIn(sentence, " ".join(self.terraform("plan", fails=True, **given).split()))

    def test_the_example_is_valid(self):
        example = self.folder / "examples/basic"
        for command in ("init", "validate"):
            result = subprocess.run(["terraform", command, "-no-color"], cwd=example, env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
            self.assertEqual(result.returncode, 0, result.stdout)


if __name__ == "__main__":
    unittest.main(verbosity=2)
