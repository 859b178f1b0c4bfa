"""The scripts for Google Cloud against a cloud that is none: python3 tests/cloud-scripts/check.py [NAME…]

With --write the transcript of a whole set-up is written anew."""

import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import threading
import unittest
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from cloud import HERE, Server, World, is_reading

REPOSITORY = HERE.parent.parent
TRANSCRIPT = HERE / "transcript.txt"
SETTINGS = {
    "PROJECT_ID": "test-project-1", "REGION": "europe-west3", "GCS_LOGS_BUCKET": "test-project-1-gatehouse", "TAG": "v1",
    "ENABLE_VPC": "true", "EGRESS_ALLOW_RANGES": "10.99.0.0/24", "RECONCILE_SCHEDULE": "'* * * * *'", "LOG_LEVEL_AGENT": "debug",
    "CLOUDRUN_CALLBACK_SECRET": "canary-callback", "GATEHOUSE_ADMIN_KEY": "canary-admin", "GATEHOUSE_API_KEYS": "canary-key-1,canary-key-2",
    "GATEHOUSE__ISOLATION__MINIMUM": "uid", "ALLOWED_TOOLS": "'Read,Bash(npm run test:*)'", "IAM_DELAY": "0",
}
SET_UP = ["setup-project.sh", "setup-network.sh", "build-and-push.sh", "create-secrets.sh", "deploy-job.sh",
          "grant-job-permissions.sh", "deploy-service.sh", "setup-service-account.sh"]
GATEWAY, JOB, CLIENT = (f"serviceAccount:{name}@test-project-1.iam.gserviceaccount.com"
                        for name in ("gatehouse-gateway", "gatehouse-job", "claude-code-client"))
server = Server()


def tree():
    """A copy of what the scripts work in, so that they change nothing here."""
    folder = Path(tempfile.mkdtemp(prefix="cloud-scripts-"))
    for part in ("scripts", "deploy", "examples/tasks"):
        shutil.copytree(REPOSITORY / part, folder / part)
    shutil.copy(REPOSITORY / ".env.example", folder)
    (folder / "Dockerfile").write_text("FROM scratch\n")
    unittest.addModuleCleanup(shutil.rmtree, folder)
    return folder


def write_settings(folder, **changes):
    settings = {**SETTINGS, **changes}
    (folder / ".env").write_text("".join(f"{name}={value}\n" for name, value in settings.items() if value is not None))


def run(folder, world, script, *arguments, given="", **environment):
    """One script in this world. What it printed stands in `stdout`, errors included."""
    world.calls = []
    name = str(id(world))
    server.worlds[name] = world
    env = {"PATH": f"{HERE}:/usr/local/bin:/usr/bin:/bin", "HOME": str(folder), "CLOUD_PORT": str(server.server_address[1]), "CLOUD_WORLD": name, **environment}
    return subprocess.run([str(folder / "scripts" / script), *arguments], cwd=folder, env=env, input=given,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120)


def shown(words):
    """A call as the scripts show it."""
    quoted = (word if re.fullmatch(r"[A-Za-z0-9_@%+=:,./~-]+", word) else "'" + word.replace("'", "'\\''") + "'" for word in ["gcloud", *words])
    return settled(" ".join(quoted))


def settled(text):
    """Without what is different each time."""
    return re.sub(r"--flags-file=\S+", "--flags-file=FILE", text)


class Scripts(unittest.TestCase):
    """Each test has the worlds before and after each script of a whole set-up."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tree()
        write_settings(cls.folder)
        world = World()
        cls.before, cls.done, cls.printed = {}, {}, {}
        for script in SET_UP:
            cls.before[script] = world.copy()
            result = run(cls.folder, world, script)
            assert result.returncode == 0, f"{script}\n{result.stdout}"
            cls.done[script], cls.printed[script] = list(world.calls), result.stdout
        cls.world = world
        cls.words = [words for calls in cls.done.values() for _, words in calls]

    def ok(self, result):
        self.assertEqual(result.returncode, 0, result.stdout)
        return result.stdout

    def refused(self, result, sentence):
        self.assertNotEqual(result.returncode, 0, result.stdout)
        self.assertIn(sentence, result.stdout)

    @staticmethod
    def faults(tried, cases):
        """What went wrong with these, a few of them at once."""
        with concurrent.futures.ThreadPoolExecutor(2 * (os.cpu_count() or 2)) as pool:
            return [fault for fault in pool.map(tried, cases) if fault]

    def goes_on(self, script, changes, state, wanted, *arguments):
        """Whether a run that finds what an earlier one left comes to the end that it should."""
        world = state.copy()
        result = run(self.folder, world, script, *arguments)
        well = result.returncode == 0 and world.state() == wanted
        return None if well else f"{script}: after {changes} of its changes it ended otherwise\n{result.stdout}"

    def test_a_whole_set_up_is_the_pinned_transcript(self):
        lines = []
        for script, calls in self.done.items():
            lines += [f"# {script}", *(shown(words) for path, words in calls if not is_reading(path)), ""]
        text = "\n".join(lines)
        if "--write" in sys.argv:
            TRANSCRIPT.write_text(text)
        self.maxDiff = None
        self.assertEqual(text, TRANSCRIPT.read_text(), "see the difference; --write takes it over")

    def test_a_second_run_changes_nothing(self):
        world = self.world.copy()
        for script in SET_UP:
            self.ok(run(self.folder, world, script))
            self.assertEqual(world.mutations(), [], script)

    def test_a_dry_run_changes_nothing_and_shows_exactly_what_a_run_does(self):
        for script in SET_UP:
            world = self.before[script].copy()
            printed = self.ok(run(self.folder, world, script, "--dry-run"))
            self.assertEqual(world.mutations(), [], script)
            plan = [settled(line[2:]) for line in printed.splitlines() if line.startswith("+ ")]
            really = [shown(words) for path, words in self.done[script] if not is_reading(path)]
            # What is not there before the run is shown by a placeholder.
            plan = [line.replace("https://URL-OF-THE-SERVICE", "https://gatehouse-x.a.run.app") for line in plan]
            self.assertEqual(plan, really, script)

    def test_a_dry_run_of_everything_works_in_an_empty_project(self):
        world = World()
        for script in SET_UP:
            self.ok(run(self.folder, world, script, "--dry-run"))
            self.assertEqual(world.mutations(), [], script)

    def test_after_a_failure_at_any_call_a_second_run_comes_to_the_same_state(self):
        failing, again = [], []
        for script in SET_UP:
            world = self.before[script].copy()
            world.steps = []
            self.ok(run(self.folder, world, script))
            # A call that fails leaves what the changes before it made; one whose reply is lost leaves its own as well.
            states, changes = [self.before[script], *world.steps], 0
            for number, (path, _) in enumerate(self.done[script], 1):
                failing.append((script, number, path, states[changes].state()))
                changes += not is_reading(path)
            again += [(script, number, state, world.state()) for number, state in enumerate(states)]

        def fails(case):
            script, number, path, wanted = case
            world = self.before[script].copy()
            world.fail_at = number
            result = run(self.folder, world, script)
            well = result.returncode != 0 and len(world.calls) == number and world.state() == wanted
            return None if well else f"{script}: the failure of call {number} ({path}) did not end it\n{result.stdout}"

        faults = self.faults(fails, failing) + self.faults(lambda case: self.goes_on(*case), again)
        self.assertEqual(faults, [])
        self.assertGreater(len(failing), 100)
        self.assertGreater(len(again), 50)

    def test_nobody_gets_more_than_is_needed(self):
        bound = {(group, role, member) for key, policy in self.world.policies.items() for role, member in policy for group in [key]}
        for key, role, member in bound:
            self.assertNotIn("all", member.split(":")[0].lower().replace("serviceaccount", ""), member)
            self.assertNotRegex(role, r"roles/(owner|editor|run\.(admin|developer)|storage\.(admin|objectAdmin)|iam\.serviceAccount)")
            if key[0] == "projects":
                self.assertEqual((role, member.split("@")[0]), ("roles/logging.logWriter", "serviceAccount:gatehouse-build"))
            if role == "roles/secretmanager.secretAccessor":
                self.assertEqual((key[0], member), ("secrets", GATEWAY))
        of = lambda who: sorted((key[0], key[1], role.split("/")[-1]) for key, role, member in bound if member == who)
        bucket, key = "gs://test-project-1-gatehouse", "async-task-payload-key"
        self.assertEqual(of(CLIENT), [("run services", "gatehouse", "run.invoker")])
        folders = [("storage managed-folders", f"{bucket}/{name}/", "gatehouseObjects") for name in ("files", "index", "inputs", "outbox", "sessions", "tasks")]
        self.assertEqual(of(JOB), sorted([("kms keys", key, "cloudkms.cryptoKeyDecrypter"), *folders, ("storage managed-folders", f"{bucket}/plugins/", "gatehouseObjectsRead")]))
        self.assertEqual([right for right in of(GATEWAY) if right[0] != "secrets"],
                         [("kms keys", key, "cloudkms.cryptoKeyEncrypter"), ("run jobs", "claude-code-async-worker", "gatehouseJobRunner"), ("storage buckets", bucket, "gatehouseObjects")])
        self.assertNotIn("allUsers", str(self.words))

    def test_service_and_job_get_the_same_settings_and_the_job_no_secret(self):
        service, job = (next(thing for key, thing in self.world.things.items() if key[0] == kind) for kind in ("run services", "run jobs"))
        self.assertEqual(service["variables"], job["variables"])
        for name in ("PROJECT_ID", "GCS_PROJECT_ID", "REGION", "GCS_LOGS_BUCKET", "KMS_KEY_RING", "KMS_KEY_NAME", "KMS_LOCATION", "CLOUDRUN_JOB_NAME"):
            self.assertTrue(job["variables"][name], name)
        self.assertEqual(job["variables"]["ALLOWED_TOOLS"], "Read,Bash(npm run test:*)")
        self.assertEqual((job["variables"]["LOG_LEVEL_AGENT"], job["variables"]["GATEHOUSE__ISOLATION__MINIMUM"]), ("debug", "uid"))
        self.assertNotIn("--set-secrets", job["flags"])
        self.assertNotEqual(service["flags"]["--service-account"], job["flags"]["--service-account"])
        self.assertIn("CLOUDRUN_CALLBACK_SECRET", service["flags"]["--set-secrets"])

    def test_no_secret_stands_in_arguments_or_output(self):
        self.assertEqual(self.world.versions["CLOUDRUN_CALLBACK_SECRET"], ["canary-callback"])
        self.assertNotIn("canary", str(self.words))
        self.assertNotIn("canary", str(self.printed))
        schedule = next(thing for key, thing in self.world.things.items() if key[0] == "scheduler jobs")
        self.assertEqual(schedule["httpTarget"]["headers"], {"X-Api-Key": "canary-admin"})

    def test_secrets_that_are_not_given_are_made_at_random_once(self):
        write_settings(self.folder, CLOUDRUN_CALLBACK_SECRET=None, GATEHOUSE_ADMIN_KEY=None, GATEHOUSE_API_KEYS=None)
        self.addCleanup(write_settings, self.folder)
        world = self.before["create-secrets.sh"].copy()
        printed = self.ok(run(self.folder, world, "create-secrets.sh"))
        self.assertEqual(sorted(world.versions), ["CLOUDRUN_CALLBACK_SECRET", "GATEHOUSE_ADMIN_KEY"])
        made = world.versions["CLOUDRUN_CALLBACK_SECRET"][0]
        self.assertRegex(made, "^[0-9a-f]{64}$")
        self.assertNotIn(made, printed)
        self.ok(run(self.folder, world, "create-secrets.sh"))
        self.assertEqual(world.mutations(), [])

    def test_what_somebody_changed_is_put_right_and_a_changed_setting_is_one_deployment(self):
        world = self.world.copy()
        world.things["storage buckets", "gs://test-project-1-gatehouse"].update(public_access_prevention="inherited", lifecycle_config={"rule": []})
        world.things["iam roles", "gatehouseJobRunner"]["includedPermissions"].append("run.jobs.update")
        self.ok(run(self.folder, world, "setup-project.sh"))
        self.assertEqual(len(world.mutations()), 3, world.mutations())
        write_settings(self.folder, JOB_MEMORY="8Gi")
        self.addCleanup(write_settings, self.folder)
        for script, changes in (("deploy-job.sh", 1), ("deploy-service.sh", 0)):
            self.ok(run(self.folder, world, script))
            self.assertEqual(len(world.mutations()), changes, script)
        next(thing for key, thing in world.things.items() if key[0] == "run services")["status"]["conditions"][0]["status"] = "False"
        self.ok(run(self.folder, world, "deploy-service.sh"))
        self.assertEqual(len(world.mutations()), 1, "a service that is not well is deployed again")

    def test_the_gateway_opens_requests_only_where_that_is_switched_on(self):
        world, opens = self.world.copy(), ("roles/cloudkms.cryptoKeyDecrypter", GATEWAY)
        of_key = next(policy for key, policy in world.policies.items() if key[0] == "kms keys")
        self.addCleanup(write_settings, self.folder)
        for switch, wanted in (("true", True), ("false", False)):
            write_settings(self.folder, GATEWAY_OPENS_DAMAGED_TASKS=switch)
            self.ok(run(self.folder, world, "setup-kms.sh"))
            self.assertEqual(opens in of_key, wanted)

    def test_teardown_asks_keeps_data_and_leaves_no_right_behind(self):
        world = self.world.copy()
        self.refused(run(self.folder, world, "teardown.sh", given="yes\n"), "nothing was deleted")
        self.assertEqual(world.mutations(), [])
        self.ok(run(self.folder, world, "teardown.sh", given="test-project-1\n"))
        left = {key[0] for key, thing in world.things.items() if not thing.get("deleted")}
        self.assertEqual(left, {"storage buckets", "storage managed-folders", "kms keyrings", "kms keys", "secrets"})
        self.assertEqual([policy for policy in world.policies.values() if policy], [])
        self.assertEqual(len(world.versions), 3)
        self.ok(run(self.folder, world, "teardown.sh", "--yes"))
        self.assertEqual(world.mutations(), [])
        for script in SET_UP:
            self.ok(run(self.folder, world, script))
        self.assertEqual({key: value for key, value in world.policies.items() if value}, {key: value for key, value in self.world.policies.items() if value})

    def test_what_others_made_is_neither_taken_over_nor_deleted(self):
        world = self.before["deploy-job.sh"].copy()
        job, network = ("run jobs", "claude-code-async-worker", "europe-west3"), ("compute networks", "gatehouse")
        world.things[job] = {"name": job[1], "metadata": {"name": job[1], "labels": {}}, "status": {"conditions": []}, "flags": {}}
        world.things[network]["description"] = "the company's"
        self.refused(run(self.folder, world, "deploy-job.sh"), "these scripts did not deploy")
        self.assertEqual(world.mutations(), [])
        self.assertIn("kept, because these scripts did not make it: run jobs", self.ok(run(self.folder, world, "teardown.sh", "--yes")))
        self.assertTrue({job, network} <= set(world.things))
        world = self.before["deploy-job.sh"].copy()
        world.things[job] = {"name": job[1], "metadata": {"name": job[1], "labels": {}}, "status": {"conditions": []}, "flags": {}}
        self.ok(run(self.folder, world, "deploy-job.sh", "--force"))

    def test_teardown_with_data_deletes_everything_that_can_be_deleted(self):
        world = self.world.copy()
        self.ok(run(self.folder, world, "teardown.sh", "--yes", "--data"))
        left = {key[0] for key, thing in world.things.items() if not thing.get("deleted")}
        self.assertEqual(left, {"kms keyrings", "kms keys"})
        self.assertEqual(next(thing for key, thing in world.things.items() if key[0] == "kms keys")["versions"], ["DESTROY_SCHEDULED"])
        self.ok(run(self.folder, world, "teardown.sh", "--yes", "--data"))
        self.assertEqual(world.mutations(), [])
        for script in SET_UP:
            self.ok(run(self.folder, world, script))

    def test_teardown_goes_on_after_a_failure_at_any_change(self):
        clean = self.world.copy()
        clean.steps = []
        self.ok(run(self.folder, clean, "teardown.sh", "--yes"))
        self.assertGreater(len(clean.steps), 30)
        # Every second one, for the time that they take.
        again = [("teardown.sh", number, state, clean.state()) for number, state in enumerate(clean.steps, 1)][::2]
        self.assertEqual(self.faults(lambda case: self.goes_on(*case, "--yes"), again), [])

    def test_mistakes_are_told_with_what_to_do(self):
        self.addCleanup(write_settings, self.folder)
        for changes, script, arguments, sentence in [
            ({"PROJECT_ID": None}, "setup-project.sh", [], "PROJECT_ID is '': set it in"),
            ({"GCS_LOGS_BUCKET": "Big_"}, "setup-project.sh", [], "a name that no bucket in the world has"),
            ({"REGION": "europe"}, "deploy-job.sh", [], "such as europe-west3"),
            ({"ENABLE_VPC": "yes"}, "deploy-job.sh", [], "ENABLE_VPC is 'yes': expected true or false"),
            ({"MIN_INSTANCES": "0", "RECONCILE_SCHEDULE": None}, "deploy-service.sh", [], "set RECONCILE_SCHEDULE"),
            ({"GATEHOUSE__AUTH__ADMIN_KEY": "x"}, "deploy-job.sh", [], "is a secret and would stand in the configuration"),
            ({"TAG": "v2"}, "deploy-job.sh", [], "run ./scripts/build-and-push.sh"),
            ({"ENABLE_VPC": "false"}, "setup-network.sh", [], "set it to true"),
            ({}, "setup-service-account.sh", ["--member=allUsers"], "open the gateway to everybody"),
            ({}, "deploy-job.sh", ["--froce"], "'--froce' is not understood"),
        ]:
            write_settings(self.folder, **changes)
            world = self.world.copy()
            self.refused(run(self.folder, world, script, *arguments), sentence)
            self.assertEqual(world.mutations(), [], script)
        write_settings(self.folder)
        self.refused(run(self.folder, self.world.copy(), "deploy-job.sh", PATH="/usr/bin:/bin" if not Path("/usr/bin/gcloud").exists() else str(self.without_gcloud())), "gcloud is missing")
        self.refused(run(self.folder, self.before["create-secrets.sh"].copy(), "deploy-service.sh"), "./scripts/create-secrets.sh first")

    def without_gcloud(self):
        """A folder with everything of /usr/bin that the scripts need, but for gcloud."""
        folder = self.folder / "bin"
        folder.mkdir(exist_ok=True)
        for program in ("bash", "jq", "mktemp", "rm", "sed", "dirname", "env", "sort", "cat"):
            if not (folder / program).exists():
                (folder / program).symlink_to(shutil.which(program, path="/usr/bin:/bin"))
        return folder

    def test_a_service_that_is_open_to_everybody_is_told(self):
        world = self.world.copy()
        next(policy for key, policy in world.policies.items() if key[0] == "run services").add(("roles/run.invoker", "allUsers"))
        self.refused(run(self.folder, world, "deploy-service.sh"), "everybody may call this service")

    def test_others_may_be_let_in_by_name(self):
        world, group = self.world.copy(), "principalSet://iam.googleapis.com/projects/1/locations/global/workloadIdentityPools/ci/*"
        self.ok(run(self.folder, world, "setup-service-account.sh", f"--member={group}"))
        self.assertIn(("roles/run.invoker", group), next(policy for key, policy in world.policies.items() if key[0] == "run services"))

    def test_a_downloaded_key_is_for_nobody_else_and_made_once(self):
        world, file = self.world.copy(), self.folder / "service_accounts/test-project-1_service_account.json"
        self.assertIn("WARNING", self.ok(run(self.folder, world, "download-service-account-key.sh")))
        self.assertEqual((file.stat().st_mode & 0o777, file.parent.stat().st_mode & 0o777), (0o600, 0o700))
        self.ok(run(self.folder, world, "download-service-account-key.sh"))
        self.assertEqual(world.mutations(), [])

    def test_settings_of_several_projects_are_kept_apart(self):
        folder, world = tree(), World()
        add = run(folder, world, "project.sh", "add", "acme", "PROJECT_ID=acme-prod-1", "MEMORY=2Gi", "ALLOWED_TOOLS=s p'a$ce")
        self.ok(add)
        self.ok(run(folder, world, "project.sh", "create", "beta", "PROJECT_ID=beta-prod-1", "REGION=us-central1"))
        self.assertEqual(self.ok(run(folder, world, "project.sh", "current")), "beta\n")
        self.ok(run(folder, world, "project.sh", "switch", "acme"))
        self.assertIn("* acme", self.ok(run(folder, world, "project.sh", "ls")))
        self.assertEqual(os.readlink(folder / ".env"), "projects/acme.env")
        self.assertEqual((folder / "projects/acme.env").stat().st_mode & 0o777, 0o600)
        secrets = ("CLOUDRUN_CALLBACK_SECRET", "GATEHOUSE__AUTH__KEYS", "GATEHOUSE__auth__API_KEYS", "GATEHOUSE__WEBHOOK__SECRET",
                   "GATEHOUSE__PLUGINS__REGISTRIES", "ANTHROPIC_OAUTH_TOKEN")
        with (folder / "projects/acme.env").open("a") as file:
            file.writelines(f"{name}=canary\n" for name in secrets)
        info = self.ok(run(folder, world, "project.sh", "info"))
        self.assertIn("MEMORY=2Gi", info)
        self.assertNotIn("canary", info)
        for name in secrets:
            self.assertIn(f"{name}=(set)", info)
        said = subprocess.run(["bash", "-c", 'source scripts/load-env.sh; printf "%s|" "$PROJECT_ID" "$GCS_LOGS_BUCKET" "$SERVICE_NAME" "$ALLOWED_TOOLS"'], cwd=folder, stdout=subprocess.PIPE, text=True)
        self.assertEqual(said.stdout, "acme-prod-1|acme-prod-1-gatehouse|acme-agent|s p'a$ce|")
        self.refused(run(folder, world, "project.sh", "add", "acme", "PROJECT_ID=x"), "is there already")
        self.refused(run(folder, world, "project.sh", "add", "other", "PROJECT_ID=other-prod-1", "NO_SUCH=1"), "no setting of .env.example")
        self.refused(run(folder, world, "project.sh", "add", "other", "PROJECT_ID=other-prod-1", "GATEHOUSE_ADMIN_KEY=x"), "write it into projects/other.env")
        self.assertFalse((folder / "projects/other.env").exists())
        self.refused(run(folder, world, "project.sh", "remove", "acme", given="no\n"), "nothing was removed")
        self.ok(run(folder, world, "project.sh", "rm", "acme", "--yes"))
        self.assertFalse((folder / ".env").exists())

    def test_every_setting_of_the_scripts_is_documented(self):
        code = "".join((REPOSITORY / "scripts" / name).read_text() for name in os.listdir(REPOSITORY / "scripts") if name.endswith(".sh"))
        used = set(re.findall(r'"\$\{([A-Z_]+):=', code))
        example = (REPOSITORY / ".env.example").read_text()
        documented = set(re.findall(r"^#? ?([A-Z][A-Z0-9_]*)=", example, re.M))
        self.assertEqual(used - documented, set())
        unused = {name for name in documented if not name.startswith("GATEHOUSE__") and not re.search(rf"\b{name}\b", code)}
        self.assertEqual(unused, set())
        for name in SETTINGS:
            self.assertTrue(name in documented or name == "LOG_LEVEL_AGENT" or name.startswith("GATEHOUSE__"), name)

    def test_gcloud_itself_understands_every_command_where_it_is_installed(self):
        if not any(Path(folder, "gcloud").exists() for folder in ("/usr/bin", "/usr/local/bin", "/snap/bin")):
            self.skipTest("no gcloud here")
        result = subprocess.run([sys.executable, HERE / "parse-with-gcloud.py", TRANSCRIPT], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                                env={**os.environ, "PATH": "/usr/local/bin:/usr/bin:/bin"})
        self.assertEqual(result.returncode, 0, result.stdout[-3000:])


class Gateway(BaseHTTPRequestHandler):
    """Plays a gateway whose tasks end as the test says."""

    def log_message(self, *_):
        pass

    def say(self, text, kind="application/json"):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        if self.path.startswith("/tasks/"):
            self.server.looks += 1
            over = self.server.looks > 2
            return self.say(json.dumps({"taskId": "t1", "status": self.server.status if over else "running", **({"exitCode": self.server.code} if over else {})}))
        self.say("ok", "text/plain")

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append((self.path, request, dict(self.headers)))
        if self.path == "/run-async":
            return self.say(json.dumps({"taskId": "t1", "status": "pending"}))
        stream = 'event: task\ndata: {"taskId":"t1"}\n\nid: 1\ndata: {"type":"system"}\n\n'
        if not self.server.breaks and not request.get("detach"):
            stream += f'event: done\ndata: {json.dumps({"taskId": "t1", "status": self.server.status, "exitCode": self.server.code})}\n\n'
        self.say(stream, "text/event-stream")


class Trying(unittest.TestCase):
    """scripts/test.sh says by its exit code whether tasks came to a good end."""

    @classmethod
    def setUpClass(cls):
        if not hasattr(Scripts, "world"):
            Scripts.setUpClass()

    def setUp(self):
        self.gateway = ThreadingHTTPServer(("127.0.0.1", 0), Gateway)
        self.gateway.status, self.gateway.code, self.gateway.breaks, self.gateway.looks, self.gateway.requests = "completed", 0, False, 0, []
        threading.Thread(target=self.gateway.serve_forever, daemon=True).start()
        self.addCleanup(self.gateway.server_close)
        self.addCleanup(self.gateway.shutdown)
        self.url = f"http://127.0.0.1:{self.gateway.server_address[1]}"
        self.folder = tree()

    def test_a_stream(self):
        run_it = lambda what="local": run(self.folder, World(), "test.sh", what, GATEHOUSE_URL=self.url, ANTHROPIC_API_KEY="canary", GATEHOUSE_API_KEY="k1", TEST_TIMEOUT="20")
        good = run_it()
        self.assertEqual(good.returncode, 0, good.stdout)
        self.assertIn("3 passed, 0 failed", good.stdout)
        _, request, headers = self.gateway.requests[0]
        self.assertEqual((request["anthropicApiKey"], headers["X-Api-Key"]), ("canary", "k1"))
        for status, code, breaks in (("failed", 0, False), ("completed", 3, False), ("completed", 0, True)):
            self.gateway.status, self.gateway.code, self.gateway.breaks = status, code, breaks
            bad = run_it()
            self.assertEqual(bad.returncode, 1, bad.stdout)
            self.assertIn("1 failed", bad.stdout)
        self.gateway.status, self.gateway.code, self.gateway.breaks = "completed", 0, False
        self.assertEqual(run_it("examples").returncode, 0)

    def test_a_task_that_nobody_listens_to(self):
        write_settings(self.folder, ANTHROPIC_API_KEY="canary")
        done = Scripts.world.copy()
        service = next(thing for key, thing in done.things.items() if key[0] == "run services")
        service["status"]["url"] = self.url
        for more, path in (({}, "/run"), ({"CALLBACK_URL": "https://hooks.example.com/x"}, "/run-async")):
            self.gateway.looks = 0
            good = run(self.folder, done, "test.sh", "remote-async", TEST_POLL="0.05", TEST_TIMEOUT="20", **more)
            self.assertEqual(good.returncode, 0, good.stdout)
            self.assertEqual(self.gateway.requests[-1][0], path)
            self.assertEqual(self.gateway.requests[-1][2]["X-Serverless-Authorization"], "Bearer identity-token")
        self.gateway.status, self.gateway.code = "cancelled", 130
        self.assertEqual(run(self.folder, done, "test.sh", "remote-async", TEST_POLL="0.05", TEST_TIMEOUT="20").returncode, 1)
        self.gateway.looks = -1000
        late = run(self.folder, done, "test.sh", "remote-async", TEST_POLL="0.2", TEST_TIMEOUT="2")
        self.assertEqual(late.returncode, 1, late.stdout)
        self.assertIn("had not come to its end", late.stdout)

    def test_what_is_missing_in_the_cloud(self):
        write_settings(self.folder)
        self.assertEqual(run(self.folder, Scripts.world.copy(), "test.sh", "auth").returncode, 0)
        less = Scripts.world.copy()
        less.things = {key: thing for key, thing in less.things.items() if key[0] != "run jobs"}
        result = run(self.folder, less, "test.sh", "auth")
        self.assertEqual(result.returncode, 1)
        self.assertIn("FAILED: job claude-code-async-worker", result.stdout)


if __name__ == "__main__":
    unittest.main(argv=[argument for argument in sys.argv if argument != "--write"], verbosity=2)
