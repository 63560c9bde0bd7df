"""A receiver of webhooks and a chat for tests: checks signatures by the library of Standard Webhooks.

Prints its address when it listens, then a line of JSON for each call. A path that begins with
/flaky is refused at the first call. The secret is the first argument.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from standardwebhooks.webhooks import Webhook

webhook = Webhook(sys.argv[1])
refused = set()
printing = threading.Lock()


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        signed = "webhook-signature" in self.headers
        told = {"path": self.path, "id": self.headers.get("webhook-id"), "signed": signed}
        if signed:
            # It raises if the signature or the time is not right.
            webhook.verify(body, dict(self.headers))
        told["body"] = json.loads(body)
        flaky = self.path.startswith("/flaky") and self.path not in refused
        refused.add(self.path)
        self.send_response(503 if flaky else 204)
        self.end_headers()
        # Several are told at the same moment, each on its own line.
        with printing:
            print(json.dumps(told), flush=True)

    def log_message(self, *_):
        pass


server = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
print(f"http://127.0.0.1:{server.server_port}", flush=True)
threading.Thread(target=server.serve_forever, daemon=True).start()
# The tests close this program's input when they are over.
sys.stdin.read()
