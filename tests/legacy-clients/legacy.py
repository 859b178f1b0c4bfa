"""A caller of the Node service, as its documents taught: nothing newer is used. legacy.py URL"""

import hashlib
import hmac
import http.server
import json
import os
import queue
import sys
import threading
import urllib.request

URL = sys.argv[1]
SECRET = os.environ["CLOUDRUN_CALLBACK_SECRET"].encode()
REQUEST = {
    "prompt": "hello",
    "anthropicApiKey": os.environ["ANTHROPIC_API_KEY"],
    "maxTurns": 6,
    "allowedTools": ["Read"],
}


def post(path, body):
    request = urllib.request.Request(
        URL + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
    )
    return urllib.request.urlopen(request)


def stream():
    result = None
    with post("/run", REQUEST) as response:
        assert response.headers["Content-Type"].startswith("text/event-stream")
        event = None
        for line in response:
            line = line.decode().rstrip("\n")
            if line.startswith("event: "):
                event = line[7:]
            elif line.startswith("data: "):
                assert event != "error", line
                message = json.loads(line[6:])
                if event is None and message.get("type") == "result":
                    result = message["result"]
            elif not line:
                event = None
    return result


def report():
    reports = queue.Queue()

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            signed = self.headers["X-Webhook-Timestamp"].encode() + b"." + body
            expected = "sha256=" + hmac.new(SECRET, signed, hashlib.sha256).hexdigest()
            good = hmac.compare_digest(expected, self.headers["X-Webhook-Signature"])
            self.send_response(200 if good else 401)
            self.end_headers()
            if good:
                reports.put(json.loads(body))

        def log_message(self, *_):
            pass

    server = http.server.HTTPServer(("127.0.0.1", 0), Receiver)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    callback = "http://127.0.0.1:%d/hook" % server.server_port
    with post("/run-async", dict(REQUEST, callbackUrl=callback, metadata={"a": "ü"})) as response:
        assert response.status == 202
        accepted = json.load(response)
    assert accepted["status"] == "pending" and accepted["logsPath"], accepted
    got = reports.get(timeout=60)
    assert (got["taskId"], got["metadata"]) == (accepted["taskId"], {"a": "ü"}), got
    return got["status"], got["exitCode"]


assert urllib.request.urlopen(URL + "/health").read() == b"ok"
words = stream()
status, code = report()
print(json.dumps([words, status, code]))
