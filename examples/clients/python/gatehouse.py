#!/usr/bin/env python3
"""A client of Gatehouse that needs nothing but the standard library (Python 3.9)."""

import base64
import hashlib
import hmac
import http.client
import json
import os
import sys
import threading
import time
import urllib.error
import urllib.request
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer

GATEWAY = os.environ.get("GATEHOUSE_URL", "http://127.0.0.1:8080")
API_KEY = os.environ.get("GATEHOUSE_API_KEY")
AUTH = {"Authorization": f"Bearer {API_KEY}"} if API_KEY else {}


def ask(path, headers=None, body=None, method=None):
    """Sends until there is an answer; what the gateway refuses for good is not sent again."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(GATEWAY + path, data, {**AUTH, **(headers or {})}, method=method)
    for attempt in range(1, 6):
        try:
            return urllib.request.urlopen(request)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise
            failure = error
        except (OSError, http.client.HTTPException) as error:
            failure = error
        time.sleep(attempt)
    raise failure


def start(path, prompt, **more):
    """Starts a task. A key of its own makes the request safe to repeat: it starts one."""
    headers = {"Content-Type": "application/json", "Idempotency-Key": str(uuid.uuid4())}
    return ask(path, headers, {"prompt": prompt, "anthropicApiKey": os.environ["ANTHROPIC_API_KEY"], **more})


def events(response):
    """Yields (name, id, data) until the connection ends, in whatever way."""
    name, number, data = "message", None, []
    try:
        for line in response:
            field, _, value = line.decode().rstrip("\n").partition(": ")
            if field == "event":
                name = value
            elif field == "id":
                number = value
            elif field == "data":
                data.append(value)
            elif field == "":
                if data:
                    yield name, number, json.loads("\n".join(data))
                name, number, data = "message", None, []
    except (OSError, http.client.HTTPException):
        pass


def run(prompt, each):
    """Runs a task and returns its report. Lines of the agent go to `each`, every one once."""
    response = start("/run", prompt)
    task, last = response.headers["X-Task-Id"], "0"
    while True:
        for name, number, data in events(response):
            if name == "done":
                return data
            if number:
                last = number
                each(data)
        # Without `done` it was the connection that ended, not the task.
        print(f"reconnecting after event {last}", file=sys.stderr)
        time.sleep(0.5)
        response = ask(f"/tasks/{task}/events", {"Last-Event-ID": last})


def is_genuine(secret, headers, body):
    number, timestamp = headers.get("webhook-id", ""), headers.get("webhook-timestamp", "")
    try:
        if abs(time.time() - int(timestamp)) > 300:
            return False
    except ValueError:
        return False

    def mac(key, signed):
        return hmac.new(key, signed.encode() + body, hashlib.sha256)

    key = base64.b64decode(secret[6:]) if secret.startswith("whsec_") else secret.encode()
    standard = b"v1," + base64.b64encode(mac(key, f"{number}.{timestamp}.").digest())
    legacy = "sha256=" + mac(secret.encode(), f"{timestamp}.").hexdigest()
    # One family is enough; this shows both. During a change of secrets there are several of the first.
    given = headers.get("webhook-signature", "").encode().split(b" ")
    return (
        any(hmac.compare_digest(one, standard) for one in given)
        and headers.get("x-webhook-timestamp") == timestamp
        and hmac.compare_digest(headers.get("x-webhook-signature", "").encode(), legacy.encode())
    )


def run_async(prompt):
    """Starts a task, waits for its webhook and returns the report."""
    reports = []
    received = threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            genuine = is_genuine(os.environ["CLOUDRUN_CALLBACK_SECRET"], self.headers, body)
            self.send_response(204 if genuine else 401)
            self.send_header("Content-Length", "0")
            self.end_headers()
            if genuine:  # verified as it came, and only then parsed
                reports.append(json.loads(body))
                received.set()

        def log_message(self, *_):
            pass

    server = HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    url = f"http://127.0.0.1:{server.server_port}/"
    print(f"receiving at {url}", file=sys.stderr)
    accepted = json.load(start("/run-async", prompt, callbackUrl=url))
    print(f"started {accepted['taskId']}", file=sys.stderr)
    received.wait()
    server.shutdown()
    return reports[0]


def cancel(task):
    print(json.load(ask(f"/cancel/{task}", method="POST"))["message"])


def say(line):
    if line.get("type") == "assistant":
        for part in line["message"]["content"]:
            if part["type"] == "text":
                print(part["text"], flush=True)


def finish(report):
    print(f"{report['taskId']} {report['status']}: {report.get('result') or report.get('error')}")
    sys.exit(report["exitCode"])


if __name__ == "__main__":
    try:
        command, argument = sys.argv[1:]
    except ValueError:
        sys.exit("usage: gatehouse.py run PROMPT | run-async PROMPT | cancel TASK_ID")
    try:
        if command == "run":
            finish(run(argument, say))
        elif command == "run-async":
            finish(run_async(argument))
        elif command == "cancel":
            cancel(argument)
        else:
            sys.exit("usage: gatehouse.py run PROMPT | run-async PROMPT | cancel TASK_ID")
    except urllib.error.HTTPError as error:
        problem = json.load(error)
        sys.exit(f"{error.code} {problem['code']}: {problem['error']}")
